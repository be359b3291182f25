package socket

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// Taken is a duplicate of the listener of a server that the app is going to replace. While it is
// open, the listener and its accept queue outlive the server.
//
// Share prepares a TCP listener so that an unprivileged daemon can bind its own listeners next to
// it and turn the gate, without getting a descriptor: for the gate it is a foreign listener, like
// one that only the workers of an earlier daemon hold (Options.Replaces).
type Taken struct {
	fd     int
	cookie uint64
	at     netip.AddrPort // of a TCP listener
	path   string         // of a unix listener
}

// ErrReused is the error of Take when the server has closed the descriptor meanwhile.
var ErrReused = errors.New("the server has closed the listener meanwhile")

// Take duplicates the listener with that inode, which is descriptor number of the process behind
// the pidfd. It takes CAP_SYS_PTRACE, or to be the user of the process.
func Take(pidfd, number int, inode uint64) (*Taken, error) {
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return nil, fmt.Errorf("take the listener (pidfd_getfd): %w", err)
	}
	t := &Taken{fd: fd}
	if err := t.inspect(inode); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return t, nil
}

func (t *Taken) inspect(inode uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	if st.Ino != inode || !listens(t.fd) {
		return ErrReused
	}
	var err error
	if t.cookie, err = unix.GetsockoptUint64(t.fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return fmt.Errorf("SO_COOKIE: %w", err)
	}
	if t.path, err = unixName(t.fd); err == nil {
		if public := PublicPath(t.path); !LeadsTo(t.path, t.fd) && LeadsTo(public, t.fd) {
			t.path = public // superctl eject has renamed it
		}
		return nil
	}
	t.at, err = boundTo(t.fd)
	return err
}

// Cookie returns the number by which the kernel knows the socket: no other ever gets it.
func (t *Taken) Cookie() uint64 { return t.cookie }

// String returns the address as the config writes it.
func (t *Taken) String() string { return Listening{Addr: t.at, Path: t.path}.String() }

// Close closes the duplicate. If the server has ended, this resets what is in the accept queue.
func (t *Taken) Close() error {
	if err := unix.Close(t.fd); err != nil {
		return fmt.Errorf("close listener: %w", err)
	}
	return nil
}

// Shareable returns an error if other listeners cannot be bound to the address next to this one.
func (t *Taken) Shareable() error {
	if t.path != "" {
		return nil
	}
	if t.at.Addr() == netip.IPv6Unspecified() {
		only6, err := unix.GetsockoptInt(t.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return fmt.Errorf("IPV6_V6ONLY: %w", err)
		}
		if only6 != 0 {
			return fmt.Errorf("%s is bound for IPv6 only, and superctl binds both families there", t.at)
		}
	}
	if protocol, err := unix.GetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil ||
		protocol != unix.IPPROTO_TCP {
		return fmt.Errorf("%s is not a plain TCP listener (protocol %d, %w)", t.at, protocol, err)
	}
	reuse, err := unix.GetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	if err != nil {
		return fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if reuse == 0 {
		return fmt.Errorf("%s was bound without SO_REUSEADDR: nothing can be bound next to its connections", t.at)
	}
	return nil
}

// Share lets sockets of the user uid be bound next to the listener, and keeps all connections with
// the server until the gate turns. The server does not notice. It takes CAP_CHOWN and
// CAP_NET_ADMIN. Another call does no harm.
//
// A listener without SO_REUSEPORT is in no group, and a filter can only be attached to a group. So
// Share binds a listener of its own for a moment, attaches the filter and closes it again: the
// group and its filter stay. The moment between listen and attach, in which the kernel spreads new
// connections over both, is the reason for the deaf socket: it drops every packet, so that a SYN
// which falls into that moment is repeated a second later, and reaches the server. Nothing is reset.
//
// There is no way back, and none is needed: with SO_REUSEPORT left set and the filter left attached,
// no other process of that user can get a connection.
//
// A unix socket gets a second name, under which Restore finds it when the gate has replaced the path.
func (t *Taken) Share(uid int) error {
	if t.path != "" {
		return t.keep()
	}
	// All listeners of a group have one user (net/ipv4/inet_connection_sock.c).
	if err := unix.Fchown(t.fd, uid, -1); err != nil {
		return fmt.Errorf("give %s to the daemon's user: %w", t.at, err)
	}
	if err := unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("SO_REUSEPORT: %w", err)
	}
	if all, err := listeners(t.at); err == nil && len(all) > 1 {
		// a group already, of a server with --reuse-port: there is no such moment
		return filter{liveCount: len(all)}.attach(t.fd)
	}
	deaf, err := t.joinDeaf(uid)
	if err != nil {
		return err
	}
	return errors.Join(filter{}.attach(t.fd), closeListener(deaf))
}

// joinDeaf returns a listener in the group of t that drops every packet.
func (t *Taken) joinDeaf(uid int) (fd int, err error) {
	family := unix.AF_INET
	if t.at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	if err := unix.Fchown(fd, uid, -1); err != nil {
		return -1, fmt.Errorf("fchown: %w", err)
	}
	if err := setOptions(fd, t.at); err != nil {
		return -1, err
	}
	sa, err := sockaddr(t.at)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return -1, fmt.Errorf("bind next to the server on %s: %w", t.at, err)
	}
	drop, err := assemble(filter{live: dropAll})
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &drop); err != nil {
		return -1, fmt.Errorf("drop packets (CAP_NET_ADMIN): %w", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return -1, fmt.Errorf("listen next to the server on %s: %w", t.at, err)
	}
	return fd, nil
}

// dropAll is the verdict of a socket filter that drops the whole packet.
const dropAll = 0

// keptPath is the second name of a unix socket while its server is being replaced.
func keptPath(path string) string { return path + ".before" }

func (t *Taken) keep() error {
	if !LeadsTo(t.path, t.fd) {
		return fmt.Errorf("%s does not lead to the server's socket", t.path)
	}
	dir, err := beneath.Open(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := filepath.Base(t.path)
	if err := ignoreMissing(dir.Remove(keptPath(name))); err != nil {
		return err
	}
	return dir.Link(name, keptPath(name))
}

// Forget removes the second name of a unix socket, once its server is not needed any more. It is not
// an error if there is none.
func Forget(path string) error {
	dir, err := beneath.Open(filepath.Dir(path))
	if err != nil {
		return ignoreMissing(err)
	}
	defer dir.Close()
	return ignoreMissing(dir.Remove(keptPath(filepath.Base(path))))
}

// Restore sends new connections to the server again, after a cutover.
func (t *Taken) Restore() error {
	if t.path != "" {
		if LeadsTo(t.path, t.fd) || !LeadsTo(keptPath(t.path), t.fd) {
			return nil // the gate has not turned, or has put the path back itself
		}
		dir, err := beneath.Open(filepath.Dir(t.path))
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Rename(keptPath(filepath.Base(t.path)), filepath.Base(t.path))
	}
	return filter{}.attach(t.fd) // the first member of the group, unless it was one before
}

// Queue returns how many connections wait in the accept queue.
func (t *Taken) Queue() (length int, err error) {
	if t.path != "" {
		length, _, err = unixQueueOf(t.fd)
	} else {
		length, _, err = tcpQueue(t.fd)
	}
	return length, err
}

// Settle waits until no further connection can arrive at the server, after a cutover, and until it
// has accepted all that waited; or until ctx ends. See Gate.Settle.
func (t *Taken) Settle(ctx context.Context) (Settled, error) {
	begun := time.Now()
	if t.path != "" {
		return settle(ctx, begun, settleChecks, t.Queue)
	}
	return settleTCP(ctx, &steer{at: t.at}, t.Queue)
}
