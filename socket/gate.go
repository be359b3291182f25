// Package socket owns every listening descriptor of an app: it reads addresses, binds them, and decides which generation a
// new connection reaches.
//
// It guarantees that a new connection reaches the live generation and no other, that a probe reaches the generation that it
// asks for and no other, and that the change from one to another is one instant for every client. It guarantees the first
// two only where the kernel can (kinds steer and rename); the kind shared says that it cannot.
//
// It starts no process and knows nothing of releases. It makes no decision: the supervisor says when.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Options says what a gate is to be.
type Options struct {
	Name    string  // the listener's name in the config
	Address Address // where it listens
	Backlog int     // how many connections may wait; 0 means 2048

	Mode  fs.FileMode // of a unix socket; 0 means 0666, as open as a TCP port of this machine
	Owner string      // of a unix socket, name or number; "" leaves it with the daemon's user
	Group string      // likewise

	Gate       string     // "auto" or "" for the best there is; "steer", "rename" or "shared" to force one
	PrivateDir string     // where private unix sockets are made; "" means the system's directory for temporary files
	Inherited  *Inherited // the descriptors that systemd handed in

	// Earlier says whether a process was started for this app by an earlier daemon. A listener on our address that only such
	// processes hold is foreign, not a stranger's. Nil means that there is no earlier daemon.
	Earlier func(pid int) bool
}

// Settled tells what waiting after a cutover saw.
type Settled struct {
	Waited time.Duration // from the call until nothing was left, or until the time was up
	Left   int           // connections, queued or half-open, that closing the listener now would reset
}

// Gate is the listener of one address, and what decides which generation a new connection to it reaches. Its methods are
// for one goroutine at a time, except Dial, Settle, Queue, Connections, Verify, Watch, Mend and Strangers, which may run
// beside each other and beside the rest.
type Gate struct {
	mechanism
	options Options
	reason  string
}

// mechanism is what differs between the kinds of gates. The contract of each method is that of supervisor.Gate.
type mechanism interface {
	// Kind is "steer", "rename", "shared" or "private".
	Kind() string
	// Address is the public address as the config writes it; of a private gate the address that was bound.
	Address() string
	// Stage gives a generation its own listener, bound and listening but without traffic.
	Stage(gen int) error
	// FD is the descriptor of a generation's listener, which stays the gate's and open until Close.
	FD(gen int) (int, error)
	// Dial connects to one generation and to no other.
	Dial(ctx context.Context, gen int) (net.Conn, error)
	// Relisten sets the backlog and O_NONBLOCK again, which workers change on the listener that they share.
	Relisten(gen int) error
	// Cutover sends every new connection to one generation, in one instant.
	Cutover(gen int) error
	// Spread sends each new connection to one of several generations, by chance and evenly; of one it is Cutover.
	Spread(gens []int) error
	// Settle waits until closing the listener of a generation that is not live would lose nothing, or until ctx ends.
	Settle(ctx context.Context, gen int) (Settled, error)
	// Close gives up a generation's listener. It reports what was still queued, which is lost then. When it is the live one,
	// new connections go to the youngest generation that is left, and are refused when none is.
	Close(gen int) error
	// Live is the generation that new connections reach, or 0.
	Live() int
	// Queue is how many connections wait for a generation, and how many may.
	Queue(gen int) (length, limit int, err error)
	// Connections is how many established connections of a generation's listener the processes hold.
	Connections(gen int, pids []int) (int, error)
	// Adopt takes over the listener of a generation that an earlier daemon bound, and owns the descriptor from then on, also
	// when it fails. Descriptors are adopted before anything is staged, in the order of Members.
	Adopt(gen, fd int) error
	// Locate finds out how the kernel has ordered what was adopted, before anything else is done with it. Until then
	// connections go on to the places sent, by the order of the earlier daemon.
	Locate(sent []int) error
	// Members is the listeners in the order in which they must be adopted.
	Members() []Member
	// Verify finds out whether a generation's listener is reached, and, when it is live, whether clients reach it; where that
	// can be set right it is. It may run beside the rest.
	Verify(ctx context.Context, gen int) error
	// Watch calls changed, at the start and after each change that somebody else has made to a listener or its path, until ctx
	// ends. Mend then says what it was.
	Watch(ctx context.Context, changed func()) error
	// Mend sets right what workers and others have done to listeners and paths. It may run beside the rest.
	Mend() Mended
	// Strangers says which other processes listen on the address, a sentence each. It may run beside the rest.
	Strangers() []string
	// Foreign is how many listeners of this address are held by processes of an earlier daemon only.
	Foreign() int
	// Canary sends a part of the new connections to a generation that is not live: those from the networks, and of the rest
	// share in 10,000. A share of 0 without networks ends it.
	Canary(gen, share int, networks []netip.Prefix) error
}

// Member is a listener that a next daemon can adopt.
type Member struct {
	Gen int // 0 is a spare, which only keeps its place
	FD  int
}

const defaultBacklog = 2048

// New makes the gate for an address: steer for TCP, rename for unix sockets, shared for what systemd handed in and where
// the kernel cannot steer. It binds nothing: the first Stage does.
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

// Name is the listener's name in the config.
func (g *Gate) Name() string { return g.options.Name }

// Reason says why the gate is of its kind, in a few words for status.
func (g *Gate) Reason() string { return g.reason }

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
		return fmt.Errorf("no gate %q: it is auto, steer, rename or shared", o.Gate)
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
		g.reason = "handed in by systemd"
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
	err := steerable()
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

// Private is a gate of the same name and socket family on an address that only this daemon knows.
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

// steerable asks the kernel for the filter, on a socket that is bound to nothing. gVisor, for one, has SO_REUSEPORT and
// not this.
func steerable() error {
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

// haveIPv6 says whether an IPv6 address can be bound: the family may be missing, or there may be no ::1.
func haveIPv6() bool {
	fd, err := tcpSocketAt(netip.AddrPortFrom(netip.IPv6Loopback(), 0))
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// permissions is what the file of a unix socket gets.
type permissions struct {
	mode     fs.FileMode
	uid, gid int // -1 leaves it
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
