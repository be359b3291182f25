package rescue

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"superctl/proc"
)

// owner is a descriptor of a connection in a process of the old server.
type owner struct{ pid, fd int }

// connection is a connection of the old server of which this process has a duplicate.
type connection struct {
	inode  uint64
	fd     int     // ours
	owners []owner // those of the old server that were open when it was looked at last
	begun  counters
}

// counters is what the kernel knows of a connection.
type counters struct {
	unread int // bytes that have arrived and that no process has read

	known         bool   // the kernel counts: it does for TCP, and does not for unix sockets
	read, written uint64 // bytes that processes have read and written since it was accepted
	asked         bool   // the last bytes that arrived were read, and arrived later than the last were sent
	sending       bool   // the client has not acknowledged all that was written
}

// count reads the counters of a connection.
func count(fd int) (counters, error) {
	var c counters
	var err error
	if c.unread, err = unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil {
		return c, fmt.Errorf("unread bytes: %w", err)
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain == unix.AF_UNIX {
		return c, err
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return c, fmt.Errorf("TCP_INFO: %w", err)
	}
	unsent, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ) // written and not acknowledged
	if err != nil {
		return c, fmt.Errorf("unsent bytes: %w", err)
	}
	c.known = true
	c.read = info.Bytes_received - min(info.Bytes_received, uint64(c.unread))
	c.written = info.Bytes_acked + uint64(unsent)
	// Both are the age in milliseconds.
	c.asked = c.read > 0 && c.unread == 0 && info.Last_data_recv < info.Last_data_sent
	c.sending = unsent > 0
	return c, nil
}

// take duplicates a descriptor of another process.
func (p *process) take(fd int, inode uint64) (int, error) {
	got, err := unix.PidfdGetfd(p.pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate descriptor %d of process %d: %w", fd, p.pid, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(got, &st); err != nil || st.Ino != inode {
		return -1, errors.Join(fmt.Errorf("descriptor %d of process %d was closed: %w", fd, p.pid, fs.ErrNotExist), err,
			unix.Close(got))
	}
	return got, nil
}

// held reports whether a process of the old server still has the connection open.
func (c *connection) held() bool {
	for len(c.owners) > 0 {
		d, err := proc.ReadDescriptor(c.owners[0].pid, c.owners[0].fd)
		if number, ok := d.Socket(); err == nil && ok && number == c.inode {
			return true
		}
		c.owners = c.owners[1:]
	}
	return false
}

// verdict is what is done with a connection that the old server has closed.
type verdict int

const (
	toClose   verdict = iota // the client notices now, as it would have without a duplicate
	toLinger                 // the old server answered: the client may not know that this was the last answer
	toHold                   // it was idle: its next request goes to the new server
	toForward                // its next request is here
)

// judge returns what is done with a connection that no process of the old server has open.
func (c *connection) judge() verdict {
	now, err := count(c.fd)
	if err != nil || ended(c.fd) {
		return toClose
	}
	if !now.known {
		if now.unread > 0 {
			return toForward
		}
		return toLinger
	}
	answered := c.begun.sending || now.written != c.begun.written
	switch {
	case !answered && (c.begun.asked || now.read != c.begun.read):
		return toClose // the old server has read a part of a request
	case now.unread > 0:
		return toForward
	case answered:
		return toLinger
	default:
		return toHold
	}
}

// ended reports whether the client has closed its side of a connection and everything it had sent
// has been read.
func ended(fd int) bool {
	n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n == 0 && err == nil || err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
}
