package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is the public address of a listener, as the config writes it: "127.0.0.1:8000",
// "[::]:8000", ":8000", "localhost:8000", "unix:/run/shop/web.sock" or "systemd:web".
type Address struct {
	network network
	text    string
	tcp     netip.AddrPort // network tcp; network systemd with an address, which selects one of several descriptors
	any     bool           // ":8000": all addresses of the machine, in every family that it has
	path    string         // network unix; network systemd with a path
	name    string         // network systemd: the FileDescriptorName= of the socket unit
}

type network string

const (
	tcp     network = "tcp"
	unixNet network = "unix"
	systemd network = "systemd"
)

// longestPath is the limit for the path of a unix socket in bytes. sun_path holds 108 bytes with
// the closing NUL, and the socket of each generation has a suffix: ".g" and up to eight digits.
const longestPath = 107 - len(".g12345678")

// ParseAddress parses an address as the config writes it. Its errors say what to write instead.
func ParseAddress(text string) (Address, error) {
	a := Address{text: text}
	err := a.parse(text)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", text, err)
	}
	return a, nil
}

// String returns the address as the config writes it.
func (a Address) String() string { return a.text }

// Network returns "tcp", "unix" or "systemd".
func (a Address) Network() string { return string(a.network) }

// Path returns the path of a unix address, and "" for any other address.
func (a Address) Path() string {
	if a.network != unixNet {
		return ""
	}
	return a.path
}

// Same reports whether two texts mean one address, such as localhost:8000 and 127.0.0.1:8000.
func (a Address) Same(b Address) bool {
	a.text, b.text = "", ""
	return a == b
}

// Overlaps reports whether connections to one address could reach a listener on the other.
func (a Address) Overlaps(b Address) bool {
	return Listening{Addr: a.tcp, Path: a.path}.Overlaps(b) || Listening{Addr: b.tcp, Path: b.path}.Overlaps(a)
}

func (a *Address) parse(text string) error {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		a.network, a.path = unixNet, path
		return checkPath(path)
	}
	if rest, ok := strings.CutPrefix(text, "systemd:"); ok {
		a.network = systemd
		return a.parseSystemd(rest)
	}
	a.network = tcp
	return a.parseTCP(text)
}

// parseSystemd parses NAME or NAME:ADDRESS. The first colon ends the name, because a name cannot
// contain one (systemd.socket(5), FileDescriptorName=).
func (a *Address) parseSystemd(text string) error {
	name, which, several := strings.Cut(text, ":")
	if name == "" {
		return errors.New("the name is missing: write systemd:NAME with the FileDescriptorName= of the socket unit")
	}
	a.name = name
	if !several {
		return nil
	}
	if path, ok := strings.CutPrefix(which, "unix:"); ok {
		a.path = path
		return checkPath(path)
	}
	return a.parseTCP(which)
}

func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("the path is missing: write unix:/run/NAME/web.sock")
	case strings.HasPrefix(path, "@"):
		return errors.New("an abstract socket has no file to rename, so it cannot be switched: write an absolute path")
	case strings.HasPrefix(path, "//"):
		return fmt.Errorf("write unix:/%s, with one slash", strings.TrimLeft(path, "/"))
	case !filepath.IsAbs(path):
		return errors.New("the path is not absolute: write unix:/run/NAME/web.sock")
	case strings.ContainsRune(path, 0):
		return errors.New("the path has a NUL byte in it")
	case path == "/":
		return errors.New("the path is a directory: write unix:/run/NAME/web.sock")
	case strings.HasSuffix(path, "/"):
		return fmt.Errorf("the path is a directory: write unix:%s/web.sock", filepath.Clean(path))
	case filepath.Clean(path) != path:
		return fmt.Errorf("write unix:%s", filepath.Clean(path))
	case len(path) > longestPath:
		return fmt.Errorf("the path has %d bytes, and the kernel's limit leaves room for %d: choose a shorter one",
			len(path), longestPath)
	}
	return nil
}

func (a *Address) parseTCP(text string) error {
	host, port, err := splitHostPort(text)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	switch {
	case port == "":
		return errors.New("the port is missing: write 127.0.0.1:8000")
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("port %q is not a number", port)
	case err != nil || number < 1 || number > 65535:
		return fmt.Errorf("port %s is out of range: a port is 1 to 65535", port)
	}
	ip, err := parseHost(host)
	if err != nil {
		return err
	}
	a.any = host == ""
	a.tcp = netip.AddrPortFrom(ip, uint16(number))
	return nil
}

func splitHostPort(text string) (host, port string, err error) {
	for _, wrong := range []func(string) error{ofAnotherKind, incomplete} {
		if err := wrong(text); err != nil {
			return "", "", err
		}
	}
	host, port, err = net.SplitHostPort(text)
	if err != nil {
		return "", "", errors.New("write IP:PORT, unix:/PATH or systemd:NAME")
	}
	return host, port, nil
}

// ofAnotherKind returns how to write an address that is not written as IP:PORT at all; nil if it is.
func ofAnotherKind(text string) error {
	scheme, rest, isURL := strings.Cut(text, "://")
	switch {
	case text == "":
		return errors.New("it is empty: write IP:PORT, unix:/PATH or systemd:NAME")
	case !strings.Contains(text, "/") || strings.Contains(text, "%"):
		return nil
	case strings.HasPrefix(text, "fd:"):
		return errors.New("write systemd:NAME with the FileDescriptorName= of the socket unit")
	case isURL:
		return fmt.Errorf("write %s, without %s://", strings.TrimRight(rest, "/"), scheme)
	case strings.HasPrefix(text, "/"):
		return fmt.Errorf("write unix:%s", text)
	}
	return errors.New("write IP:PORT, unix:/PATH or systemd:NAME")
}

// incomplete returns what an address lacks: its host, its port, or the brackets of an IPv6 address.
func incomplete(text string) error {
	if _, err := strconv.Atoi(text); err == nil {
		return fmt.Errorf("write 127.0.0.1:%s for this machine only, or :%s for every address", text, text)
	}
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	with := inBrackets(text)
	switch ip, err := netip.ParseAddr(bare); {
	case err == nil && with != "":
		return fmt.Errorf("an IPv6 address stands in brackets, before the port: write %s, or %s if the port is "+
			"missing", with, net.JoinHostPort(ip.String(), "8000"))
	case err == nil:
		return fmt.Errorf("the port is missing: write %s", net.JoinHostPort(ip.String(), "8000"))
	case with != "":
		return fmt.Errorf("an IPv6 address stands in brackets, before the port: write %s", with)
	case strings.Count(text, ":") > 1 && !strings.HasPrefix(text, "["):
		return errors.New("an IPv6 address stands in brackets: write [::1]:8000")
	}
	return nil
}

// inBrackets returns an IPv6 address and its port as they are written, or "" if the text is not of these
// two with missing brackets, as in ::1:8000, or a missing colon, as in [::1]8000.
func inBrackets(text string) string {
	at := strings.LastIndexAny(text, ":]")
	if at < 0 || strings.Contains(text, "]:") {
		return ""
	}
	host := strings.TrimPrefix(text[:at], "[")
	ip, err := netip.ParseAddr(host)
	port, errPort := strconv.ParseUint(text[at+1:], 10, 16)
	if err != nil || errPort != nil || !ip.Is6() {
		return ""
	}
	return net.JoinHostPort(ip.String(), strconv.FormatUint(port, 10))
}

// parseHost parses the host part. It does not resolve names: a name may resolve differently at the
// start of the daemon and at the next switch, and all listeners of a group need the same address.
func parseHost(host string) (netip.Addr, error) {
	switch host {
	case "":
		return netip.IPv6Unspecified(), nil
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	case "*":
		return netip.Addr{}, errors.New("write 0.0.0.0 for every IPv4 address, or nothing before the colon for " +
			"every address")
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf(
			"%q is not an IP address, and names are not looked up: write the address itself", host)
	}
	return ip.Unmap(), nil
}
