package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// Notify is the socket on which workers say READY=1 and STATUS= by the protocol of sd_notify(3).
type Notify struct {
	path  string
	file  *os.File
	entry fs.FileInfo // of the socket in its directory; nil when it was gone at once
}

// Message is one datagram of a worker. The kernel vouches for the sender's pid (SCM_CREDENTIALS,
// unix(7)).
type Message struct {
	PID     int
	Lineage []int             // see Lineage; taken at once, because the sender may end as soon as it has spoken
	Fields  map[string]string // READY, STATUS, ...
}

// ListenNotify opens the socket, in the place of one that an earlier daemon has left. Any user may
// write to it: who is heard is decided by the sender's pid. inherited is the descriptor of an
// earlier daemon's at that path, or -1: then what was said while no daemon was there is heard.
func ListenNotify(path string, inherited int) (*Notify, error) {
	if inherited >= 0 {
		if bound(inherited) == path && exists(path) {
			return newNotify(path, inherited), nil
		}
		if err := unix.Close(inherited); err != nil {
			return nil, err
		}
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("notify socket %s: there is something else with that name", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove old notify socket: %w", err)
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	err = beneath.BindUnix(fd, path, 0o666)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("notify socket %s: %w", path, err), unix.Close(fd))
	}
	return newNotify(path, fd), nil
}

func newNotify(path string, fd int) *Notify {
	entry, err := os.Lstat(path)
	if err != nil {
		entry = nil
	}
	return &Notify{path: path, file: os.NewFile(uintptr(fd), path), entry: entry}
}

// Reachable reports whether the path still leads to the socket.
func (n *Notify) Reachable() bool {
	st, err := os.Lstat(n.path)
	return err == nil && n.entry != nil && os.SameFile(st, n.entry)
}

// Abandon hands on what was said to a socket that another one replaces, and closes it. What is at
// its path stays. Run must have ended.
func (n *Notify) Abandon(handle func(Message)) error {
	err := n.Descriptor(func(fd int) error {
		for {
			m, err := receive(fd)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return nil
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return err
			case m.PID != 0:
				handle(m)
			}
		}
	})
	return errors.Join(err, n.file.Close())
}

// bound is the path that a unix socket is bound to, or "".
func bound(fd int) string {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return ""
	}
	if a, ok := name.(*unix.SockaddrUnix); ok {
		return a.Name
	}
	return ""
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// Descriptor hands the descriptor to f, which must not keep it.
func (n *Notify) Descriptor(f func(fd int) error) error { return control(n.file, f) }

// Run hands on messages until ctx ends. It may be called again after that; meanwhile they wait in
// the socket.
func (n *Notify) Run(ctx context.Context, handle func(Message)) error {
	if err := n.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("read %s: %w", n.path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = n.file.SetReadDeadline(time.Now()) })
	defer stop()
	raw, err := n.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("read %s: %w", n.path, err)
	}
	err = raw.Read(func(fd uintptr) bool {
		for ctx.Err() == nil {
			m, err := receive(int(fd))
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false
			case err == nil && m.PID != 0:
				handle(m)
			}
		}
		return true
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", n.path, err)
}

// receive takes one datagram; one that makes no sense is taken and forgotten.
func receive(fd int) (Message, error) {
	buf := make([]byte, 4096)
	control := make([]byte, 512)
	n, cn, _, _, err := unix.Recvmsg(fd, buf, control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return Message{}, err
	}
	m := Message{Fields: make(map[string]string)}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil {
		return Message{}, nil //nolint:nilerr // the sender speaks another protocol
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			m.PID = int(cred.Pid)
			m.Lineage = Lineage(m.PID)
		}
		// BARRIER=1 and FDSTORE=1 bring descriptors: closing one is what a barrier waits for.
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}
	for line := range strings.SplitSeq(string(buf[:n]), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			m.Fields[key] = strings.ToValidUTF8(value, "\uFFFD")
		}
	}
	return m, nil
}

// Close closes the socket and removes it.
func (n *Notify) Close() error { return errors.Join(n.file.Close(), os.Remove(n.path)) }
