//go:build linux

// Package serve serves what is known of the apps of this host by HTTP, until it is stopped, on a TCP
// address or a unix socket. It knows nothing of what it serves.
package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/net/netutil"
)

// Limits on what clients can ask of the process.
const (
	headerTimeout  = 5 * time.Second
	stopTime       = 10 * time.Second // how long requests in progress are waited for
	maxConnections = 256
)

// Address is where something is served.
type Address struct {
	network, address string

	// InUse returns an error that names the process which listens on HOST:PORT or unix:PATH, or nil.
	InUse func(address string) error
}

// Example is an address of each kind, for messages.
type Example struct{ TCP, Unix string }

// Parse parses HOST:PORT or unix:PATH. A missing HOST would be every address of the machine, so it is
// an error.
func Parse(text string, such Example) (Address, error) {
	if path, found := strings.CutPrefix(text, "unix:"); found {
		if !strings.HasPrefix(path, "/") {
			return Address{}, fmt.Errorf("%s: the path does not begin with /: use %s", text, such.Unix)
		}
		return Address{network: "unix", address: path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	switch {
	case err != nil:
		return Address{}, fmt.Errorf("%q: not HOST:PORT or unix:PATH: use %s", text, such.TCP)
	case host == "":
		return Address{}, fmt.Errorf("%s: the host is missing: use 127.0.0.1:%s", text, port)
	}
	return Address{network: "tcp", address: text}, nil
}

// IsLocal reports whether only processes of this host can connect: it is a unix socket or a loopback
// address.
func (a Address) IsLocal() bool {
	if a.network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(a.address)
	return err == nil && IsLoopback(host)
}

// IsLoopback reports whether a host, without a port, is localhost or a loopback address.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// Serve serves until ctx ends, which also ends the contexts of the requests. It calls ready with the
// address when it accepts connections, and tells systemd. The server's header and idle timeouts and
// its context are set here; the group of a unix socket may connect to it.
func (a Address) Serve(ctx context.Context, server *http.Server, ready func(at string)) error {
	l, err := a.listen(ctx)
	if err != nil {
		return err
	}
	server.ReadHeaderTimeout, server.ReadTimeout = headerTimeout, headerTimeout
	server.IdleTimeout, server.MaxHeaderBytes = time.Minute, 16<<10
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	ready(l.Addr().String())
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return errors.Join(fmt.Errorf("notify systemd: %w", err), server.Close())
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

func (a Address) listen(ctx context.Context) (net.Listener, error) {
	if a.network == "unix" {
		if err := a.removeStale(); err != nil {
			return nil, err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, a.network, a.address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, cmp.Or(a.InUse(a.address), err)
	}
	if err != nil || a.network != "unix" {
		return l, err
	}
	if err := os.Chmod(a.address, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket of an earlier process that does not listen any more, and nothing else.
func (a Address) removeStale() error {
	path := a.address
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is not a socket: move it away, or use another path", path)
	}
	if err := a.InUse("unix:" + path); err != nil {
		return err
	}
	return os.Remove(path)
}
