package drill

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Target is the address that load is sent to.
type Target struct {
	Network string // "tcp" or "unix"
	Address string // an IP address and port, or a path
	Host    string // header
	Proxy   bool   // another server is in front of the app
}

// String returns the address as in the config.
func (t Target) String() string {
	if t.Network == "unix" {
		return "unix:" + t.Address
	}
	return t.Address
}

// Machine provides what is needed to keep the load on this machine.
type Machine struct {
	Own    func() ([]net.Addr, error)                                   // its addresses
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error) // resolves a name
}

// ThisMachine returns the machine that the drill runs on.
func ThisMachine() Machine {
	return Machine{Own: net.InterfaceAddrs, Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
}

// Via returns the target for the URL of a proxy in front of the app.
func (m Machine) Via(ctx context.Context, text string) (Target, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return Target{}, fmt.Errorf(
			"--via %s: not a URL: use the URL of the proxy in front of the app, such as http://127.0.0.1", text)
	case u.Scheme == "https":
		return Target{}, fmt.Errorf("--via %s: a drill does not support TLS: let the proxy also listen on a port of "+
			"127.0.0.1 without TLS, and use that port", text)
	case u.Scheme != "http":
		return Target{}, fmt.Errorf("--via %s: unsupported scheme %q: use http://", text, u.Scheme)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil:
		return Target{}, fmt.Errorf("--via %s: use only scheme, host and port, and --path for the page", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	address, err := m.ownAddress(ctx, u.Hostname(), port)
	if err != nil {
		return Target{}, fmt.Errorf("--via %s: %w", text, err)
	}
	return Target{Network: "tcp", Address: address, Host: u.Host, Proxy: true}, nil
}

// Listener returns the target for a listener's address in the config.
func (m Machine) Listener(ctx context.Context, name, address string) (Target, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return Target{Network: "unix", Address: path, Host: "localhost"}, nil
	}
	if strings.HasPrefix(address, "systemd:") {
		return Target{}, fmt.Errorf("listen.%s comes from systemd, and its address is not in the config: use --via, "+
			"such as --via http://127.0.0.1:8000", name)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return Target{}, fmt.Errorf("listen.%s: %w", name, err)
	}
	switch host {
	case "", "0.0.0.0", "*":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	own, err := m.ownAddress(ctx, host, port)
	if err != nil {
		return Target{}, fmt.Errorf("listen.%s: %w", name, err)
	}
	return Target{Network: "tcp", Address: own, Host: "localhost"}, nil
}

// ownAddress resolves a host once, to an address of this machine: load is never sent to another
// one.
func (m Machine) ownAddress(ctx context.Context, host, port string) (string, error) {
	var found []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		found = []netip.Addr{ip}
	} else if found, err = m.Lookup(ctx, host); err != nil {
		return "", fmt.Errorf("look up %s: %w", host, err)
	}
	own, err := m.Own()
	if err != nil {
		return "", fmt.Errorf("list the addresses of this machine: %w", err)
	}
	for _, ip := range found {
		ip = ip.Unmap()
		if ip.IsLoopback() || slices.ContainsFunc(own, func(a net.Addr) bool { return sameIP(a, ip) }) {
			return net.JoinHostPort(ip.String(), port), nil
		}
	}
	return "", fmt.Errorf("%s is not this machine, and a drill sends no load to others: run it there", host)
}

func sameIP(a net.Addr, ip netip.Addr) bool {
	n, ok := a.(*net.IPNet)
	if !ok {
		return false
	}
	own, ok := netip.AddrFromSlice(n.IP)
	return ok && own.Unmap() == ip.WithZone("")
}
