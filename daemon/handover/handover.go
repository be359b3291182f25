// Package handover starts a new daemon in place of this one and passes named descriptors to it.
//
// tableflip starts the new process, waits until it is ready, and kills it if it does not become
// ready. It passes only one descriptor: a socket, through which the others are sent. The others
// differ between attempts, and tableflip keeps every descriptor that it was given.
package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

const (
	// readyTime limits how long a new daemon may take to become ready.
	readyTime = 30 * time.Second
	// parentTime limits how long the previous daemon may take to exit.
	parentTime = 10 * time.Second
	// batch is the number of descriptors in one message; the kernel's limit is 253 (SCM_MAX_FD,
	// unix(7)).
	batch = 200
	// messageSize has room for the names of one batch: 200 of at most 255 bytes (FDNAME of
	// sd_notify(3)).
	messageSize = 64 << 10
	// socketName is the name of the descriptor that tableflip passes.
	socketName = "handover"
)

// Upgrader performs upgrades: it receives descriptors if an upgrade started this daemon, and starts
// the next daemon.
type Upgrader struct {
	flip      *tableflip.Upgrader
	out, in   int // the ends of the socket for the next daemon
	inherited map[string]int
	dir       string // in which the daemon was started
}

// New returns an Upgrader with the descriptors of the previous daemon, if an upgrade started this
// one. Call it once, before anything is started.
func New() (*Upgrader, error) {
	dir, err := os.Getwd()
	if err != nil { // tableflip needs it too
		return nil, errors.New("the current directory does not exist any more: start the daemon in another one")
	}
	flip, err := tableflip.New(tableflip.Options{UpgradeTimeout: readyTime})
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	u := &Upgrader{flip: flip, inherited: make(map[string]int), dir: dir}
	if flip.HasParent() {
		// tableflip's own pipes to the parent; a worker must not inherit them.
		unix.CloseOnExec(3)
		unix.CloseOnExec(4)
		if err := u.receive(); err != nil {
			return nil, fmt.Errorf("take over from the running daemon: %w", err)
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	u.out, u.in = pair[0], pair[1]
	dup, err := unix.FcntlInt(uintptr(u.in), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	file := os.NewFile(uintptr(dup), socketName)
	defer file.Close()
	if err := flip.AddFile(socketName, file); err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return u, nil
}

// Directory returns the directory in which the next daemon is started: that in which this one was. The
// error is that it does not exist any more, such as a release that was removed.
func (u *Upgrader) Directory() (string, error) {
	if _, err := os.Stat(u.dir); err != nil {
		return "", fmt.Errorf("the daemon was started in %s, and an upgrade starts the next one there, but %w: make that "+
			"directory again, and repeat the upgrade", u.dir, err)
	}
	return u.dir, nil
}

// HasParent reports whether an upgrade started this daemon.
func (u *Upgrader) HasParent() bool { return u.flip.HasParent() }

// WaitForParent waits until the daemon that started this one has exited. Without one it returns at
// once.
func (u *Upgrader) WaitForParent(ctx context.Context) error { return u.flip.WaitForParent(ctx) }

// Take returns the descriptor of that name. The caller owns it from then on.
func (u *Upgrader) Take(name string) (fd int, ok bool) {
	fd, ok = u.inherited[name]
	delete(u.inherited, name)
	return fd, ok
}

// Names returns the names of the descriptors that were handed over and not taken yet.
func (u *Upgrader) Names() []string { return slices.Sorted(maps.Keys(u.inherited)) }

// Ready tells the previous daemon that it can exit. It closes the descriptors that were not taken.
func (u *Upgrader) Ready() error {
	var errs []error
	for name, fd := range u.inherited {
		if err := unix.Close(fd); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", name, err))
		}
	}
	clear(u.inherited)
	return errors.Join(append(errs, u.flip.Ready())...)
}

// HandOver starts the daemon from its file, which may contain a new program, passes the descriptors
// to it, and returns when it is ready: then this daemon must exit. If the new daemon does not
// become ready, HandOver kills it and returns why.
func (u *Upgrader) HandOver(fds map[string]int) error {
	ctx, cancel := context.WithTimeout(context.Background(), parentTime)
	defer cancel()
	if err := u.flip.WaitForParent(ctx); err != nil {
		return fmt.Errorf("wait until the previous daemon has exited: %w", err)
	}
	err := u.send(fds)
	if err == nil {
		err = u.flip.Upgrade()
	}
	if err != nil {
		return errors.Join(err, u.drain())
	}
	return nil
}

// send writes all descriptors to the socket, and an empty list after them.
func (u *Upgrader) send(fds map[string]int) error {
	names := slices.Sorted(maps.Keys(fds))
	for part := range slices.Chunk(names, batch) {
		numbers := make([]int, len(part))
		for i, name := range part {
			numbers[i] = fds[name]
		}
		if err := sendNames(u.out, part, unix.UnixRights(numbers...)); err != nil {
			return err
		}
	}
	return sendNames(u.out, []string{}, nil)
}

func sendNames(fd int, names []string, rights []byte) error {
	data, err := json.Marshal(names)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(fd, data, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("hand descriptors over: %w", err)
	}
	return nil
}

// receive reads all descriptors. They were in the socket before this process started.
func (u *Upgrader) receive() error {
	file, err := u.flip.File(socketName)
	if err != nil || file == nil {
		return errors.Join(errors.New("it passed no descriptors"), err)
	}
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Control(func(fd uintptr) { result = receiveAll(int(fd), u.inherited) })
	return errors.Join(err, result)
}

// drain empties the socket after a failed attempt. Otherwise its descriptors would stay open and
// reach the next attempt.
func (u *Upgrader) drain() error {
	left := make(map[string]int)
	err := receiveAll(u.in, left)
	for _, fd := range left {
		err = errors.Join(err, unix.Close(fd))
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil // the new daemon had read them
	}
	return err
}

func receiveAll(fd int, into map[string]int) error {
	for {
		data := make([]byte, messageSize)
		control := make([]byte, unix.CmsgSpace(4*batch))
		n, cn, _, _, err := unix.Recvmsg(fd, data, control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		if err != nil {
			return fmt.Errorf("receive descriptors: %w", err)
		}
		var names []string
		if err := json.Unmarshal(data[:n], &names); err != nil {
			return fmt.Errorf("receive descriptors: %w", err)
		}
		if len(names) == 0 {
			return nil
		}
		messages, err := unix.ParseSocketControlMessage(control[:cn])
		if err != nil {
			return fmt.Errorf("receive descriptors: %w", err)
		}
		var fds []int
		for i := range messages {
			got, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				return fmt.Errorf("receive descriptors: %w", err)
			}
			fds = append(fds, got...)
		}
		if len(fds) != len(names) {
			return fmt.Errorf("receive descriptors: %d came for %d names", len(fds), len(names))
		}
		for i, name := range names {
			into[name] = fds[i]
		}
	}
}
