// Package handover starts a new daemon in the place of this one and hands it named descriptors.
//
// tableflip starts it, waits until it is ready, and ends it when it is not. It passes one
// descriptor: a socket, through which the others follow. They are others at each attempt, and
// tableflip never forgets one that it was given.
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
	// readyTime is how long a new daemon may take to be in charge.
	readyTime = 30 * time.Second
	// parentTime is how long the daemon before this one may take to be gone.
	parentTime = 10 * time.Second
	// batch is how many descriptors one message carries; the kernel's limit is 253 (SCM_MAX_FD,
	// unix(7)).
	batch = 200
	// messageSize is more than the names of one batch take: 200 of at most 255 bytes (FDNAME of
	// sd_notify(3)).
	messageSize = 64 << 10
	// socketName is the descriptor that tableflip passes.
	socketName = "handover"
)

// Upgrader is this daemon's part in upgrades: it may have been started by one, and it can start
// one.
type Upgrader struct {
	flip      *tableflip.Upgrader
	out, in   int // the ends of the socket for the next daemon
	inherited map[string]int
}

// New takes what an earlier daemon hands over, if there is one. It is called once, before anything
// is started.
func New() (*Upgrader, error) {
	flip, err := tableflip.New(tableflip.Options{UpgradeTimeout: readyTime})
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	u := &Upgrader{flip: flip, inherited: make(map[string]int)}
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

// HasParent tells whether a running daemon has started this one.
func (u *Upgrader) HasParent() bool { return u.flip.HasParent() }

// Alone waits until the daemon that has started this one is gone, if there was one.
func (u *Upgrader) Alone(ctx context.Context) error { return u.flip.WaitForParent(ctx) }

// Take is the descriptor of that name, which is the caller's from then on.
func (u *Upgrader) Take(name string) (fd int, ok bool) {
	fd, ok = u.inherited[name]
	delete(u.inherited, name)
	return fd, ok
}

// Names is what was handed over and not taken yet.
func (u *Upgrader) Names() []string { return slices.Sorted(maps.Keys(u.inherited)) }

// Ready lets the daemon before this one go: from here on this one is in charge. What was not taken
// is closed.
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

// HandOver starts the program that this daemon was started from, which may be another one by now,
// hands it the descriptors, and returns when it is ready: then this daemon must go. Else the new
// one is gone, and the error says why.
func (u *Upgrader) HandOver(fds map[string]int) error {
	ctx, cancel := context.WithTimeout(context.Background(), parentTime)
	defer cancel()
	if err := u.flip.WaitForParent(ctx); err != nil {
		return fmt.Errorf("the daemon before this one is not gone yet: %w", err)
	}
	err := u.send(fds)
	if err == nil {
		err = u.flip.Upgrade()
	}
	if err != nil {
		return errors.Join(err, u.takeBack())
	}
	return nil
}

// send puts all descriptors into the socket, and an empty list behind them.
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

// receive takes all descriptors: they were in the socket before this process was started.
func (u *Upgrader) receive() error {
	file, err := u.flip.File(socketName)
	if err != nil || file == nil {
		return errors.Join(errors.New("it has handed nothing over"), err)
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

// takeBack empties the socket after an attempt that failed: its descriptors would be held open, and
// be the next one's.
func (u *Upgrader) takeBack() error {
	left := make(map[string]int)
	err := receiveAll(u.in, left)
	for _, fd := range left {
		err = errors.Join(err, unix.Close(fd))
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil // the new daemon had taken them already
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
