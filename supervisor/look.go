package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Look is what Options.Look is to look at: the processes of one worker that is starting.
type Look struct {
	Process   Process
	Release   Release
	PIDs      []int
	Listeners []uint64 // inode numbers of the sockets that the worker was given, in the order of Process.Listen
	Healthy   bool     // the worker has passed its health check
}

// ErrUnseen is why a worker could not be looked at: its processes may not be read. It is no
// finding.
var ErrUnseen = errors.New("its processes cannot be looked at")

const (
	lookFirst = time.Second // from the start of a worker to the first look at it
	// between two looks at a worker that starts slowly; the interval doubles until then
	lookMost = 5 * time.Second
	// between a finding and the look that confirms it: many a program listens for a moment
	lookAgain = 250 * time.Millisecond
	lookTime  = 10 * time.Second // that one look may take, with the wait for its turn
)

// lookout is the goroutine that looks at a starting worker.
type lookout struct {
	end  context.CancelFunc
	last chan struct{} // closed to ask for the look after which the worker may be ready
}

// lookAt begins to look at what a starting worker does: the kernel has no event for a process that
// binds a socket or changes its directory, so it is looked at a few times while it starts, and once
// more before it is ready.
func (in *instance) lookAt() {
	in.finding, in.seen = "", in.owner.opt.Look == nil || in.gen.plan.Page // it runs from no release
	if in.seen {
		return
	}
	ctx, end := context.WithCancel(context.Background())
	in.look = &lookout{end: end, last: make(chan struct{})}
	look, w, l, turn := in.subject(), in.w, in.look, in.turn
	inodes, err := in.inodes()
	look.Listeners = inodes
	who := in.String() // two that become healthy together are looked at together
	in.owner.async(func() {
		for wait := lookFirst; err == nil; wait = min(2*wait, lookMost) {
			select {
			case <-time.After(wait):
			case <-l.last:
				look.Healthy = true
			case <-ctx.Done():
				return
			}
			in.owner.enter(who)
			found, last := in.owner.confirmed(ctx, look, w), look.Healthy
			in.owner.post(func() { in.looked(turn, last, found) })
			if last {
				return
			}
		}
		in.owner.post(func() { in.looked(turn, true, fmt.Errorf("%w: %w", ErrUnseen, err)) })
	})
}

// subject is what is to be looked at, but for what changes.
func (in *instance) subject() Look {
	return Look{Process: *in.proc, Release: in.gen.plan.Release}
}

// inodes are the numbers of the sockets that an instance was given.
func (in *instance) inodes() ([]uint64, error) {
	var list []uint64
	for _, name := range in.proc.Listen {
		fd, err := in.listener(name).fd()
		if err != nil {
			return nil, err
		}
		inode, err := in.owner.os.inode(fd)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", name, err)
		}
		list = append(list, inode)
	}
	return list, nil
}

// confirmed looks once, and a second time when that finds something.
func (s *Supervisor) confirmed(ctx context.Context, l Look, w process) error {
	once := func() error {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		l.PIDs = w.Family()
		return s.opt.Look(ctx, l)
	}
	err := once()
	if err == nil || errors.Is(err, ErrUnseen) {
		return err
	}
	select {
	case <-time.After(lookAgain):
	case <-ctx.Done():
		return nil
	}
	return once()
}

// mayBeReady reports whether a worker that has shown all else has been looked at; if not, it asks
// for the look, and looked calls maybeReady again.
func (in *instance) mayBeReady() bool {
	if in.seen || in.look == nil {
		return true
	}
	select {
	case <-in.look.last:
	default:
		close(in.look.last)
	}
	return false
}

// looked takes what a look at a worker has found. A worker of a generation that has not proved
// itself is refused. One that replaces a dead worker of the live generation stays, because it
// serves: status tells of it.
func (in *instance) looked(turn int, last bool, found error) {
	if in.turn != turn || in.state != InstanceStarting {
		return
	}
	if errors.Is(found, ErrUnseen) {
		in.owner.log.Warn("a worker could not be looked at", append(in.fields(), zap.Error(found))...)
		found = nil
	}
	in.finding = ""
	if found != nil {
		in.finding = found.Error()
		if in.refusable() {
			in.reason = in.finding
			if !in.gen.respawns() {
				in.wanted = false
				in.gen.fail(in, fmt.Sprintf("%s %s", in, in.finding))
			}
			in.fire(killAsked)
			return
		}
		in.owner.log.Error("a worker of the live release is not what it should be",
			append(in.fields(), zap.String("finding", in.finding))...)
	}
	if last {
		in.seen = true
		in.maybeReady()
	}
}

// refusable reports whether an instance is part of what the change in progress has to prove. A
// start proves nothing: what it refused would not be served.
func (in *instance) refusable() bool {
	return !in.gen.respawns() ||
		in.owner.change != nil && in.owner.change.to == in.gen && in.owner.change.req.Kind != start
}

// endLook ends the look at a worker that does not start any more.
func (in *instance) endLook() {
	if in.look != nil {
		in.look.end()
		in.look = nil
	}
}
