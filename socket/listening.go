package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"superctl/proc"

	"golang.org/x/sys/unix"
)

// Listening is a TCP or unix socket on which a process accepts connections.
type Listening struct {
	PID   int
	Inode uint64
	Addr  netip.AddrPort // of a TCP socket
	Path  string         // of a unix socket; @ begins a name in the abstract namespace

	only6 bool
}

// String returns the address as the config writes it.
func (l Listening) String() string {
	if !l.Addr.IsValid() {
		return "unix:" + l.Path
	}
	return l.Addr.String()
}

// Overlaps reports whether the socket gets, or would get, connections to the address.
func (l Listening) Overlaps(a Address) bool {
	if !l.Addr.IsValid() {
		return l.Path != "" && filepath.Clean(l.Path) == a.path
	}
	at := a.tcp
	return at.IsValid() && at.Port() == l.Addr.Port() &&
		(a.any || overlap(tcpSocket{local: l.Addr, only6: l.only6}, at.Addr()))
}

// ListenersOf returns the sockets on which the processes accept connections, including inherited
// ones. It skips processes that have ended; a process that it may not inspect is an error.
func ListenersOf(pids []int) ([]Listening, error) {
	var list []Listening
	var all map[uint64]Listening
	for _, pid := range pids {
		inodes, err := openSockets(pid)
		if err != nil {
			return nil, err
		}
		if len(inodes) == 0 {
			continue
		}
		if all == nil {
			if all, err = allListening(pid); err != nil {
				return nil, err
			}
		}
		for _, inode := range inodes {
			if l, ok := all[inode]; ok {
				l.PID = pid
				list = append(list, l)
			}
		}
	}
	return list, nil
}

// openSockets returns the inodes of the sockets that a process has open, and none if it has ended.
func openSockets(pid int) ([]uint64, error) {
	open, err := proc.Descriptors(pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var inodes []uint64
	for _, d := range open {
		if inode, ok := d.Socket(); ok {
			inodes = append(inodes, inode)
		}
	}
	slices.Sort(inodes)
	return slices.Compact(inodes), nil
}

// allListening returns every listening socket of the process's network namespace. It asks
// sock_diag, which can list listeners only; where that is forbidden it reads /proc.
func allListening(pid int) (map[uint64]Listening, error) {
	list, err := diagListening()
	if err != nil || !sameNamespace(pid) {
		return procListening(pid)
	}
	return list, nil
}

func sameNamespace(pid int) bool {
	own, errOwn := proc.NetNamespace(os.Getpid())
	its, errIts := proc.NetNamespace(pid)
	return errOwn != nil || errIts != nil || own == its
}

func diagListening() (map[uint64]Listening, error) {
	all := make(map[uint64]Listening)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := tcpSockets(family, 0, tcpListen)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			all[uint64(s.inode)] = Listening{Inode: uint64(s.inode), Addr: s.local, only6: s.only6}
		}
	}
	list, err := unixSockets(tcpListen)
	for _, s := range list {
		all[uint64(s.inode)] = Listening{Inode: uint64(s.inode), Path: displayName(s.name)}
	}
	return all, err
}

func displayName(name string) string {
	if rest, ok := strings.CutPrefix(name, "\x00"); ok {
		return "@" + rest
	}
	return name
}

func procListening(pid int) (map[uint64]Listening, error) {
	list, err := proc.Listeners(pid)
	all := make(map[uint64]Listening, len(list))
	for _, l := range list {
		all[l.Inode] = Listening{Inode: l.Inode, Addr: l.Addr, Path: l.Path}
	}
	return all, err
}

// Pattern is a set of addresses: "127.0.0.1:9191", "127.0.0.1:*", ":9191" for every address, or
// "unix:/run/shop/stats-*.sock".
type Pattern struct {
	text string
	host string // "" matches every address
	port string // "*" matches every port
	path string
}

// ParsePattern parses a pattern. Its errors say what to write instead.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if _, err := filepath.Match(path, ""); err != nil ||
			!strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
			return p, fmt.Errorf("address %q: write unix:/run/NAME/stats.sock; * stands for any characters but /", text)
		}
		p.path = path
		return p, nil
	}
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return p, fmt.Errorf("address %q: write IP:PORT, IP:* for every port, or unix:/PATH", text)
	}
	p.host, p.port = strings.Trim(text[:at], "[]"), text[at+1:]
	if n, err := strconv.Atoi(p.port); p.port != "*" && (err != nil || n < 1 || n > 65535) {
		return p, fmt.Errorf("address %q: write a port from 1 to 65535, or * for every port", text)
	}
	if p.host == "" || p.host == "*" {
		p.host = ""
		return p, nil
	}
	ip, err := parseHost(p.host)
	if err != nil {
		return p, fmt.Errorf("address %q: %w", text, err)
	}
	p.host = ip.String()
	return p, nil
}

// Matches reports whether the pattern matches a socket's address.
func (p Pattern) Matches(l Listening) bool {
	if p.path != "" || !l.Addr.IsValid() {
		matched, err := filepath.Match(p.path, l.Path)
		return err == nil && matched && !l.Addr.IsValid()
	}
	return (p.host == "" || p.host == l.Addr.Addr().String()) &&
		(p.port == "*" || p.port == strconv.Itoa(int(l.Addr.Port())))
}

// autobound matches an abstract name that the kernel chose (unix(7), "Autobind feature").
var autobound = regexp.MustCompile(`^@[0-9a-f]{5}$`)

// privateNames match the sockets on which programs talk to their own children.
var privateNames = []*regexp.Regexp{ //nolint:gochecknoglobals // a table
	autobound,
	// Python's multiprocessing: managers, queues, the fork server
	regexp.MustCompile(`/pymp-[^/]+/(listener|sock)-[^/]+$`),
	regexp.MustCompile(`^@(listener|sock)-\d+-\d+$`), // the same in the abstract namespace
	regexp.MustCompile(`/gunicorn\.ctl$`),            // gunicorn's control socket, from 25.1
}

// Private reports whether a program uses the socket only to talk to its own parts or to be
// controlled, so that no user's request can reach it.
func (l Listening) Private() bool {
	matches := func(r *regexp.Regexp) bool { return r.MatchString(l.Path) }
	return !l.Addr.IsValid() && slices.ContainsFunc(privateNames, matches)
}
