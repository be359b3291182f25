package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// Successor is a listener that another process has bound next to the only listener of an app of
// superctl, in order to take its place.
type Successor struct{ gate *steer }

// The generations of the gate of a successor.
const (
	ofApp       = 1
	ofSuccessor = 2
)

// GiveTo lets sockets of the user uid be bound next to a listener of superctl. Sockets of its user
// before can no longer be bound there. It takes CAP_CHOWN.
func (t *Taken) GiveTo(uid int) error {
	if err := unix.Fchown(t.fd, uid, -1); err != nil {
		return fmt.Errorf("give %s to user %d: %w", t, uid, err)
	}
	return nil
}

// GiveBack gives all sockets of a process that are bound to the address of the listener to the user
// uid, so that its sockets can be bound there again. fds are the descriptors of the process behind
// pidfd that are sockets. It takes CAP_CHOWN and CAP_SYS_PTRACE.
func (t *Taken) GiveBack(pidfd int, fds []int, uid int) error {
	var failed error
	for _, number := range fds {
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if errors.Is(err, unix.EBADF) {
			continue // closed meanwhile
		}
		if err != nil {
			return fmt.Errorf("look at the sockets of superctl's daemon (pidfd_getfd): %w", err)
		}
		if at, err := boundTo(fd); err == nil && at == t.at {
			if err := unix.Fchown(fd, uid, -1); err != nil {
				failed = errors.Join(failed, fmt.Errorf("give %s to user %d: %w", t, uid, err))
			}
		}
		failed = errors.Join(failed, unix.Close(fd))
	}
	return failed
}

// Withdraw ends a spare: a listener of superctl that only reserves an index in the group. With one
// other member the kernel sends everything to that one, whatever the filter says.
func (t *Taken) Withdraw() error {
	if err := unix.Shutdown(t.fd, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("shut down a spare listener: %w", err)
	}
	return nil
}

// Successor returns the listener that was bound next to this one, as the only other of the address.
func (t *Taken) Successor() (*Successor, error) {
	own, err := inode(t.fd)
	if err != nil {
		return nil, err
	}
	list, err := overlapping(t.at)
	if err != nil {
		return nil, err
	}
	// The kernel appends a listener to the group when it begins to listen, so the app's is the first.
	s := newSteer(&Options{Address: Address{text: t.String()}}, t.at)
	s.group = group{{gen: ofApp, fd: t.fd, inode: own}}
	s.live = ofApp
	for _, l := range list {
		if l.inode != own && same(l, t.at) {
			s.group = append(s.group, member{gen: ofSuccessor, fd: -1, inode: l.inode, stranger: true})
		}
	}
	if len(s.group) != 2 || len(list) != 2 {
		return nil, fmt.Errorf("%d sockets listen on %s instead of superctl's and the new one", len(list), t.at)
	}
	return &Successor{s}, nil
}

// Dial connects to the successor; other new connections reach the app.
func (n *Successor) Dial(ctx context.Context) (net.Conn, error) { return n.gate.Dial(ctx, ofSuccessor) }

// Turn sends all new connections to the successor.
func (n *Successor) Turn() error { return n.turn(ofSuccessor) }

// TurnBack sends all new connections to the app.
func (n *Successor) TurnBack() error { return n.turn(ofApp) }

func (n *Successor) turn(gen int) error {
	n.gate.mu.Lock()
	defer n.gate.mu.Unlock()
	n.gate.recount()
	if n.gate.group.find(gen) < 0 {
		return errors.New("the listener is gone")
	}
	n.gate.live = gen
	return n.gate.attach()
}

// SuccessorPath returns the path at which another process binds the unix socket that takes the place
// of an app's. Generations are counted from 1, so no generation of the app has it.
func SuccessorPath(path string) string { return path + ".g0" }

// ofGeneration matches the path of a generation's own unix socket, or of a successor's.
var ofGeneration = regexp.MustCompile(`^(.+)\.g[0-9]+$`)

// PublicPath returns the path by which clients reach a unix socket that was bound as name: sockets
// of superctl, and their successors, are bound next to the path of the address. For any other socket
// it returns name.
func PublicPath(name string) string {
	m := ofGeneration.FindStringSubmatch(name)
	if m == nil {
		return name
	}
	if st, err := os.Lstat(m[1]); err != nil || st.Mode().Type() != os.ModeSocket {
		return name
	}
	return m[1]
}

// PathSuccessor is a unix socket that another process has bound at SuccessorPath, in order to take
// the place of an app's.
type PathSuccessor struct {
	path  string // by which clients connect
	app   *Taken
	inode uint64
}

// PathSuccessor returns the socket with that inode, which is going to take the place of this one at
// path.
func (t *Taken) PathSuccessor(path string, inode uint64) *PathSuccessor {
	return &PathSuccessor{path: path, app: t, inode: inode}
}

// Dial connects to the successor.
func (n *PathSuccessor) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", SuccessorPath(n.path))
}

// Turn makes the path lead to the successor, in one step.
func (n *PathSuccessor) Turn() error { return TurnPath(n.path, n.inode) }

// TurnPath makes a path lead to its successor, the socket with that inode.
func TurnPath(path string, inode uint64) error {
	if err := relink(SuccessorPath(path), path); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("lstat %s: %w", path, err)
	}
	//nolint:gosec // sock_diag has inodes of 32 bits
	if own, known := fileOfInode(uint32(inode)); known && own != identify(&st) {
		return fmt.Errorf("%s does not lead to the new server", path)
	}
	return nil
}

// TurnBack makes the path lead to the app.
func (n *PathSuccessor) TurnBack() error {
	own, err := unixName(n.app.fd)
	if err != nil {
		return err
	}
	if LeadsTo(n.path, n.app.fd) {
		return nil
	}
	if !LeadsTo(own, n.app.fd) {
		return fmt.Errorf("%s does not lead to the app any more", own)
	}
	return relink(own, n.path)
}

// ForgetSuccessor removes the path at which a successor was bound, once the path of the address
// leads to it. It is not an error if there is none.
func ForgetSuccessor(path string) error {
	dir, err := beneath.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return ignoreMissing(dir.Remove(filepath.Base(SuccessorPath(path))))
}

// relink makes a path lead to the socket of another in the same directory. The app's user may write
// there, so no link is followed, and nothing but a socket is replaced.
func relink(from, to string) error {
	if err := errors.Join(mustBeSocket(from), mustBeSocket(to)); err != nil {
		return err
	}
	dir, err := beneath.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	next := filepath.Base(from) + ".next"
	if err := ignoreMissing(dir.Remove(next)); err != nil {
		return err
	}
	if err := dir.Link(filepath.Base(from), next); err != nil {
		return err
	}
	// rename(2) does nothing if both lead to the same socket, and leaves next behind.
	return errors.Join(dir.Rename(next, filepath.Base(to)), ignoreMissing(dir.Remove(next)))
}
