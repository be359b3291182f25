// Package socket owns every listening descriptor of an app. It parses addresses, binds them, and
// decides which generation a new connection reaches (connection steering).
//
// It guarantees that:
//   - a new connection reaches the live generation and no other;
//   - a probe reaches the generation that it asks for and no other;
//   - a cutover is atomic for every client.
//
// The first two hold where the kernel supports them (kinds steer and rename); the kind shared does
// not give them.
//
// The package starts no processes, knows nothing of releases and makes no decisions: the supervisor
// does.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Options describes a gate.
type Options struct {
	Name    string  // the listener's name in the config
	Address Address // where the gate listens
	Backlog int     // limit of the accept queue; 0 means 2048

	Mode  fs.FileMode // of a unix socket; 0 means 0666, as open as a TCP port of this machine
	Owner string      // of a unix socket: user name or number; "" means the daemon's user
	Group string      // of a unix socket: group name or number; "" means the daemon's group

	Gate       string     // "steer", "rename" or "shared"; "auto" or "" chooses the best that the kernel supports
	PrivateDir string     // directory for private unix sockets; "" means the system's temporary directory
	Inherited  *Inherited // the descriptors that systemd passed

	// Earlier reports whether an earlier daemon of this app started a process. A listener on our
	// address that only such processes hold is foreign; other listeners belong to strangers. Nil
	// means that there was no earlier daemon.
	Earlier func(pid int) bool

	// Replaces reports whether a listener, by its cookie, belongs to the server that this app is
	// about to replace and that Taken.Share has prepared. It is foreign too, whichever process holds it. Nil
	// means that there is none.
	Replaces func(cookie uint64) bool
}

// replaces reports whether a listener is of the server that this app replaces.
func (o *Options) replaces(cookie uint64) bool { return o.Replaces != nil && o.Replaces(cookie) }

// Settled is the result of Settle.
type Settled struct {
	Waited time.Duration // from the call until nothing was left, or until the deadline
	Left   int           // connections, queued or half-open, that closing the listener now would reset
}

// Gate owns the listener of one address and decides which generation a new connection reaches.
// Dial, Settle, Queue, Connections, Verify, Watch, Mend and Strangers may be called concurrently
// with each other and with any other method. All other methods are for one goroutine at a time.
type Gate struct {
	mechanism
	options Options
	reason  string
}

// mechanism is the part of a gate that depends on its kind. supervisor.Gate has the contract of
// each method.
type mechanism interface {
	// Kind returns "steer", "rename", "shared" or "private".
	Kind() string
	// Address returns the public address as the config writes it; of a private gate, the bound
	// address.
	Address() string
	// Stage makes a listener for a generation. It is bound and listens, but gets no traffic.
	Stage(gen int) error
	// FD returns the descriptor of a generation's listener. The gate owns it, and keeps it open
	// until Close.
	FD(gen int) (int, error)
	// Dial connects to this generation and to no other.
	Dial(ctx context.Context, gen int) (net.Conn, error)
	// Relisten restores the backlog and O_NONBLOCK, which workers may change on the shared
	// listener.
	Relisten(gen int) error
	// Cutover sends every new connection to one generation, atomically.
	Cutover(gen int) error
	// Spread sends each new connection to one of the generations, chosen at random with equal
	// shares. For one generation it is Cutover.
	Spread(gens []int) error
	// Settle waits until closing the listener of a generation that is not live would lose no
	// connection, or until ctx ends.
	Settle(ctx context.Context, gen int) (Settled, error)
	// Close closes a generation's listener. Its error includes how many queued connections were
	// lost. When the generation was live, new connections go to the newest remaining generation;
	// without one they are refused.
	Close(gen int) error
	// Live returns the generation that new connections reach, or 0.
	Live() int
	// Queue returns the length and the limit of a generation's accept queue.
	Queue(gen int) (length, limit int, err error)
	// Connections returns how many established connections of a generation's listener the processes
	// hold.
	Connections(gen int, pids []int) (int, error)
	// Unanswered counts those of Connections that wait for their first response, or have sent bytes
	// that the server has not read. Where the kernel does not tell (unix sockets), it counts all.
	Unanswered(gen int, pids []int) (int, error)
	// Adopt takes over the listener of a generation that an earlier daemon bound. It owns the
	// descriptor from then on, even if it fails. Descriptors are adopted before anything is staged,
	// in the order of Members.
	Adopt(gen, fd int) error
	// Locate finds out the kernel's order of the adopted listeners. It is called right after the
	// last Adopt. Until the first cutover, connections keep going to the indexes earlierLive, in
	// the earlier daemon's order.
	Locate(earlierLive []int) error
	// Members returns the listeners in the order in which they must be adopted.
	Members() []Member
	// Verify checks that a generation's listener is reached and, when it is live, that clients
	// reach it. It repairs what it can.
	Verify(ctx context.Context, gen int) error
	// Watch calls changed at the start, and after each change that another process makes to a
	// listener or its path, until ctx ends. Mend then tells what changed.
	Watch(ctx context.Context, changed func()) error
	// Mend repairs what workers and other processes have done to listeners and paths.
	Mend() Mended
	// Strangers returns a sentence for each other process that listens on the address.
	Strangers() []string
	// Foreign returns how many listeners of this address are held by processes of an earlier daemon
	// only.
	Foreign() int
	// Canary sends a part of the new connections to a generation that is not live: all from the
	// networks, and share in 10,000 of the rest. A share of 0 without networks ends the canary.
	Canary(gen, share int, networks []netip.Prefix) error
}

// Member is a listener that the next daemon can adopt.
type Member struct {
	Gen int // 0 is a spare, which only reserves its index
	FD  int
}

const defaultBacklog = 2048

// New returns the gate for an address: steer for TCP, rename for unix sockets, and shared for
// sockets passed by systemd or if the kernel cannot steer. It binds nothing; the first Stage does.
func New(o Options) (*Gate, error) {
	if o.Backlog == 0 {
		o.Backlog = defaultBacklog
	}
	g := &Gate{options: o}
	if err := g.choose(); err != nil {
		return nil, fmt.Errorf("listener %s: %w", o.Name, err)
	}
	return g, nil
}

// Name returns the listener's name in the config.
func (g *Gate) Name() string { return g.options.Name }

// Reason returns why the gate is of its kind, in a few words for status.
func (g *Gate) Reason() string { return g.reason }

// Replacing reports whether a server that this app replaces still listens on the address.
func (g *Gate) Replacing() bool {
	o := &g.options
	if o.Replaces == nil {
		return false
	}
	if o.Address.network == unixNet {
		who, err := findOccupant(o.Address.path)
		return err == nil && who != nil && o.Replaces(who.cookie)
	}
	list, err := tcpSockets(unix.AF_INET6, o.Address.tcp.Port(), tcpListen)
	list4, err4 := tcpSockets(unix.AF_INET, o.Address.tcp.Port(), tcpListen)
	return errors.Join(err, err4) == nil && slices.ContainsFunc(slices.Concat(list, list4), func(l tcpSocket) bool {
		return o.Replaces(l.cookie)
	})
}

func (g *Gate) choose() (err error) {
	o := &g.options
	switch o.Gate {
	case "", "auto", "shared":
	case kindSteer:
		if o.Address.network != tcp {
			return fmt.Errorf("gate \"steer\" is for TCP, and %s is not", o.Address)
		}
	case kindRename:
		if o.Address.network != unixNet {
			return fmt.Errorf("gate \"rename\" is for unix sockets, and %s is not", o.Address)
		}
	default:
		return fmt.Errorf("unknown gate %q: use auto, steer, rename or shared", o.Gate)
	}
	switch o.Address.network {
	case tcp:
		return g.chooseTCP()
	case unixNet:
		perm, err := newPermissions(o.Mode, o.Owner, o.Group)
		if err != nil {
			return err
		}
		if o.Gate == kindShared {
			g.mechanism, g.reason = newSharedUnix(o, perm), "the config says so"
		} else {
			g.mechanism, g.reason = newRename(o, perm), "a unix socket: its path is a link to the live one"
		}
		return nil
	case systemd:
		g.mechanism, err = newSharedInherited(o)
		g.reason = "passed by systemd"
		return err
	}
	return errors.New("no address")
}

func (g *Gate) chooseTCP() error {
	o := &g.options
	at := o.Address.tcp
	if o.Address.any && !haveIPv6() {
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
	}
	err := checkSteerable()
	switch {
	case o.Gate == kindShared:
		g.mechanism, g.reason = newSharedTCP(o, at), "the config says so"
	case err == nil:
		g.mechanism, g.reason = newSteer(o, at), "the kernel steers each connection"
	case o.Gate == kindSteer:
		return fmt.Errorf("gate \"steer\" is not possible here: %w", err)
	default:
		g.mechanism, g.reason = newSharedTCP(o, at), fmt.Sprintf("the kernel cannot steer: %v", err)
	}
	return nil
}

// Private returns a gate of the same name and socket family on an address that only this daemon
// knows.
func (g *Gate) Private() (*Gate, error) {
	m, err := g.private()
	if err != nil {
		return nil, fmt.Errorf("private listener %s: %w", g.options.Name, err)
	}
	return &Gate{mechanism: m, options: g.options, reason: "for a preflight"}, nil
}

func (g *Gate) private() (mechanism, error) {
	at := g.options.Address.tcp
	path := g.options.Address.path
	if g.options.Address.network == systemd {
		var err error
		if at, path, err = g.options.Inherited.boundTo(g.options.Address); err != nil {
			return nil, err
		}
	}
	switch {
	case path != "":
		return newPrivateUnix(&g.options), nil
	case at.Addr().Is4() || !haveIPv6():
		return newPrivateTCP(&g.options, netip.AddrFrom4([4]byte{127, 0, 0, 1})), nil
	default:
		return newPrivateTCP(&g.options, netip.IPv6Loopback()), nil
	}
}

// checkSteerable tests whether the kernel accepts the filter, on a socket that is bound to nothing.
// gVisor has SO_REUSEPORT without it.
func checkSteerable() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("SO_REUSEPORT: %w", err)
	}
	return filter{}.attach(fd)
}

// haveIPv6 reports whether an IPv6 address can be bound. The family or ::1 may be missing.
func haveIPv6() bool {
	fd, err := tcpSocketAt(netip.AddrPortFrom(netip.IPv6Loopback(), 0))
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// permissions are the mode and owner of a unix socket's file.
type permissions struct {
	mode     fs.FileMode
	uid, gid int // -1 leaves the owner unchanged
}

func newPermissions(mode fs.FileMode, owner, group string) (permissions, error) {
	p := permissions{mode: mode.Perm(), uid: -1, gid: -1}
	if mode == 0 {
		p.mode = 0o666
	}
	if owner != "" {
		uid, err := strconv.Atoi(owner)
		if err != nil {
			u, err := user.Lookup(owner)
			if err != nil {
				return p, fmt.Errorf("owner %q: no such user", owner)
			}
			uid, _ = strconv.Atoi(u.Uid)
		}
		p.uid = uid
	}
	if group != "" {
		gid, err := strconv.Atoi(group)
		if err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return p, fmt.Errorf("group %q: no such group", group)
			}
			gid, _ = strconv.Atoi(g.Gid)
		}
		p.gid = gid
	}
	return p, nil
}

func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		return u.Username
	}
	return strconv.FormatUint(uint64(uid), 10)
}
