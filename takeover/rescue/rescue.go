// Package rescue keeps the connections of a server that is being replaced from being lost while
// they are idle.
//
// A server that stops closes the connections that its clients keep open. A client that sends its
// next request at that moment gets no answer. Hold duplicates the descriptors of these connections
// (pidfd_getfd, which needs root): when the server closes its own descriptor, the kernel tells the
// client nothing, because the connection is still open here. When the next request arrives, the
// rescue relays it to the new server with "Connection: close" and passes the answer back; then the
// client connects to the new server itself.
//
// A rescue never reads from a connection that a process of the old server has open, and never
// changes it: the status flags are shared with the old server. It does not help where the server
// shuts down its side of a connection before it closes it (gunicorn's asgi worker), and it relays
// nothing but HTTP/1: other connections are closed as soon as the old server has closed them.
package rescue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/socket"
)

// Options describes the old server, and the limits of its rescue.
type Options struct {
	Listeners []socket.Listening // those that have been taken; connections of others are left alone
	PIDs      []int              // the processes of the old server
	// Most limits how many connections are held; each needs a descriptor. Default 4096.
	Most int
	// Idle limits how long an idle connection is held after the old server has closed it. Browsers
	// and proxies keep one for up to a minute or two; a client that returns later opens a new one.
	// Default 60 s.
	Idle time.Duration
}

const (
	defaultMost = 4096
	defaultIdle = 60 * time.Second
	// linger is how long a connection is held on which the old server has answered a request before
	// it closed it. The client may use it again, or may wait for its end.
	linger = 250 * time.Millisecond
	// lookAgain is how often the descriptors of the old server are read until it has ended. The kernel
	// has no event for it when a process closes a descriptor of a file that others have open.
	lookAgain = 25 * time.Millisecond
)

// Report counts connections.
type Report struct {
	Held    int // duplicated
	Relayed int // whose next request was relayed to the new server
	Failed  int // whose next request could not be relayed
	Left    int // not duplicated because there were more than Options.Most
}

// Rescue holds connections. Its methods may be called from one goroutine each.
type Rescue struct {
	o         Options
	epoll     int
	wake      int // an eventfd that wakes Run
	giveUp    atomic.Bool
	processes []*process
	held      map[int]*connection // by our descriptor; owned by Run
	waiting   map[int]*waiting    // closed by the old server; owned by Run

	relays sync.WaitGroup
	mu     sync.Mutex
	report Report // guarded by mu
}

// process is a process of the old server.
type process struct{ pid, pidfd int }

// waiting is a connection whose next request goes to the new server.
type waiting struct {
	fd    int
	until time.Time
}

// Hold duplicates the open connections of the old server. Run must follow it: until then, clients do
// not notice that the old server has closed a connection.
func Hold(o Options) (*Rescue, error) {
	if o.Most == 0 {
		o.Most = defaultMost
	}
	if o.Idle == 0 {
		o.Idle = defaultIdle
	}
	r := &Rescue{o: o, epoll: -1, wake: -1, held: map[int]*connection{}, waiting: map[int]*waiting{}}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	if err := r.hold(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// Report returns the counts so far.
func (r *Rescue) Report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.report
}

func (r *Rescue) count(change func(*Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.report)
}

func (r *Rescue) open() (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if err := r.watch(r.wake, unix.EPOLLIN); err != nil {
		return err
	}
	for _, pid := range r.o.PIDs {
		pidfd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open process %d: %w", pid, err)
		}
		r.processes = append(r.processes, &process{pid, pidfd})
		if err := r.watch(pidfd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rescue) watch(fd int, events uint32) error {
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// hold duplicates the connections.
func (r *Rescue) hold() error {
	theirs, err := r.connections()
	if err != nil {
		return err
	}
	found := map[uint64]*connection{}
	for _, p := range r.processes {
		open, err := proc.Descriptors(p.pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, d := range open {
			number, ok := d.Socket()
			if !ok || !theirs[number] {
				continue
			}
			if c := found[number]; c != nil {
				c.owners = append(c.owners, owner{p.pid, d.FD})
				continue
			}
			if len(found) >= r.o.Most {
				r.report.Left++
				continue
			}
			c, err := r.duplicate(p, d.FD, number)
			if err != nil {
				return err
			}
			if c != nil {
				found[number] = c
			}
		}
	}
	r.report.Held = len(found)
	return nil
}

// duplicate returns nil if the connection was closed meanwhile.
func (r *Rescue) duplicate(p *process, fd int, inode uint64) (*connection, error) {
	got, err := p.take(fd, inode)
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // closed meanwhile, as documented
	}
	if err != nil {
		return nil, err
	}
	c := &connection{inode: inode, fd: got, owners: []owner{{p.pid, fd}}}
	if c.begun, err = count(got); err == nil {
		err = r.watch(got, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(got))
	}
	r.held[got] = c
	return c, nil
}

// connections returns the inodes of the connections of the listeners, as far as a process has them
// open.
func (r *Rescue) connections() (map[uint64]bool, error) {
	inodes := map[uint64]bool{}
	for _, l := range r.o.Listeners {
		list, err := socket.AcceptedFrom(l)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			inodes[c.Inode] = true
		}
	}
	return inodes, nil
}

// GiveUp closes the duplicates of all connections that the old server still has open: their clients
// notice when the old server closes them or is killed.
func (r *Rescue) GiveUp() {
	r.giveUp.Store(true)
	r.wakeUp()
}

func (r *Rescue) wakeUp() { _, _ = unix.Write(r.wake, binary.NativeEndian.AppendUint64(nil, 1)) }

// Run rescues the connections, and returns when the old server has closed them all and none is held
// any more. When ctx ends, it closes those that are idle, and returns after the requests that are
// being relayed.
func (r *Rescue) Run(ctx context.Context) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		r.wakeUp()
	})
	err := r.run(ctx)
	if !stop() {
		<-woken
	}
	err = errors.Join(err, r.close())
	r.relays.Wait()
	return err
}

func (r *Rescue) run(ctx context.Context) error {
	events := make([]unix.EpollEvent, 64)
	look := time.Now().Add(lookAgain)
	for ctx.Err() == nil && (len(r.held) > 0 || len(r.waiting) > 0) {
		n, err := unix.EpollWait(r.epoll, events, r.timeout(look))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			r.event(int(e.Fd), e.Events)
		}
		if r.giveUp.Load() {
			for fd := range r.held {
				r.drop(fd)
			}
		}
		now := time.Now()
		if len(r.held) > 0 && !now.Before(look) {
			r.look()
			// However many connections there are, looking at them takes a tenth of one processor.
			look = time.Now().Add(max(lookAgain, 10*time.Since(now)))
		}
		r.expire(now)
	}
	return nil
}

// timeout returns the milliseconds until something is due.
func (r *Rescue) timeout(look time.Time) int {
	next := time.Now().Add(time.Minute)
	if len(r.held) > 0 {
		next = look
	}
	for _, w := range r.waiting {
		if w.until.Before(next) {
			next = w.until
		}
	}
	return max(0, int(time.Until(next).Milliseconds())+1)
}

func (r *Rescue) event(fd int, events uint32) {
	if i := r.process(fd); i >= 0 {
		_ = unix.Close(fd)
		r.processes = slices.Delete(r.processes, i, i+1)
		r.look()
		return
	}
	if fd == r.wake {
		_, _ = unix.Read(fd, make([]byte, 8))
		return
	}
	if c := r.held[fd]; c != nil {
		over := events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
		switch {
		case !c.held():
			r.release(c)
		case over:
			r.drop(fd) // the old server notices it, too
		}
		return
	}
	if r.waiting[fd] != nil {
		delete(r.waiting, fd)
		r.forward(fd)
	}
}

// drop closes the duplicate of a connection that the old server may have open. Closing it alone
// would leave it in the epoll set, which keeps an entry until the last descriptor is closed.
func (r *Rescue) drop(fd int) {
	delete(r.held, fd)
	_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	_ = unix.Close(fd)
}

// process returns the index of the process behind a pidfd, or -1.
func (r *Rescue) process(pidfd int) int {
	return slices.IndexFunc(r.processes, func(p *process) bool { return p.pidfd == pidfd })
}

// look finds the connections that the old server has closed.
func (r *Rescue) look() {
	for _, c := range r.held {
		if !c.held() {
			r.release(c)
		}
	}
}

// release decides what becomes of a connection that the old server has closed.
func (r *Rescue) release(c *connection) {
	delete(r.held, c.fd)
	switch c.judge() {
	case toForward:
		r.forward(c.fd)
	case toLinger:
		r.waiting[c.fd] = &waiting{c.fd, time.Now().Add(linger)}
	case toHold:
		r.waiting[c.fd] = &waiting{c.fd, time.Now().Add(r.o.Idle)}
	case toClose:
		_ = unix.Close(c.fd)
	}
}

// expire closes the connections whose clients have not used them in time.
func (r *Rescue) expire(now time.Time) {
	for fd, w := range r.waiting {
		if now.After(w.until) {
			delete(r.waiting, fd)
			_ = unix.Close(fd)
		}
	}
}

// forward relays the next request of a connection. From here the descriptor is the relay's.
func (r *Rescue) forward(fd int) {
	_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	r.relays.Go(func() {
		asked, err := relay(fd)
		r.count(func(n *Report) {
			switch {
			case err != nil:
				n.Failed++
			case asked:
				n.Relayed++
			}
		})
	})
}

// close closes all descriptors, except for those of relays.
func (r *Rescue) close() (err error) {
	for fd := range r.held {
		err = errors.Join(err, unix.Close(fd))
	}
	for fd := range r.waiting {
		err = errors.Join(err, unix.Close(fd))
	}
	clear(r.held)
	clear(r.waiting)
	for _, p := range r.processes {
		err = errors.Join(err, unix.Close(p.pidfd))
	}
	r.processes = nil
	for _, fd := range []int{r.epoll, r.wake} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	r.epoll, r.wake = -1, -1
	return err
}
