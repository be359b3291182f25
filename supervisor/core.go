package supervisor

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// core is what all parts of a supervisor share: its options, the edge to the operating system, the
// log, and the way to the one goroutine that owns everything else, which is called the owner. Other
// goroutines reach what it owns by post, do and await only.
type core struct {
	opt Options
	os  system
	log *zap.Logger

	inbox      chan func()
	ending     chan struct{}  // closed when Run takes no turns any more: no condition becomes true from then on
	done       chan struct{}  // closed when Run has returned
	goroutines sync.WaitGroup // that the owner started
	waiters    []*waiter      // owned by Run
}

func newCore(opt Options) *core {
	co := &core{
		opt: opt, os: realSystem(opt.Cgroups), log: opt.Log, inbox: make(chan func()),
		ending: make(chan struct{}), done: make(chan struct{}),
	}
	if co.log == nil {
		co.log = zap.NewNop()
	}
	return co
}

// drainAsync waits for the goroutines that the owner started, while it still takes what they post. Those
// that await a condition are told that the owner stops.
func (co *core) drainAsync() {
	close(co.ending)
	quiet := make(chan struct{})
	go func() { co.goroutines.Wait(); close(quiet) }()
	for {
		select {
		case f := <-co.inbox:
			f()
		case <-quiet:
			return
		}
	}
}

// async runs f in a goroutine that Run waits for.
func (co *core) async(f func()) {
	co.goroutines.Go(f)
}

// afterExit runs f in a goroutine that Run waits for once a worker has exited.
func (co *core) afterExit(w process, f func()) {
	co.goroutines.Add(1)
	w.AfterExit(func() {
		defer co.goroutines.Done()
		f()
	})
}

// post hands f to the owner and does not wait for it.
func (co *core) post(f func()) {
	co.enter("")
	select {
	case co.inbox <- f:
	case <-co.done:
	}
}

// do has the owner run f and waits until it has.
func (co *core) do(f func()) error {
	defer co.enter("")()
	ran := make(chan struct{})
	select {
	case co.inbox <- func() { f(); close(ran) }:
		<-ran
		return nil
	case <-co.done:
		return ErrStopping
	}
}

// postAfter hands f to the owner after so long.
func (co *core) postAfter(wait time.Duration, f func()) *time.Timer {
	return time.AfterFunc(wait, func() { co.post(f) })
}

// nothing is what the owner is handed so that it looks at everything again.
func nothing() {}

// enter is system.enter.
func (co *core) enter(who string) (woken func()) {
	if co.os.enter == nil {
		return func() {}
	}
	return co.os.enter(who)
}

// try has the owner run f, waits until it has, and returns its error.
func (co *core) try(f func() error) error {
	var err error
	if stopped := co.do(func() { err = f() }); stopped != nil {
		return stopped
	}
	return err
}

// ask returns what the owner knows; the zero value when it has ended.
func ask[T any](co *core, get func() T) (answer T) {
	_ = co.do(func() { answer = get() })
	return answer
}

// waiter waits for a condition that the owner looks at after every turn.
type waiter struct {
	cond func() (bool, error) // run by the owner
	hit  chan error           // of capacity 1
}

func (co *core) wake() {
	kept := co.waiters[:0]
	for _, w := range co.waiters {
		if ok, err := w.cond(); ok || err != nil {
			w.hit <- err
			continue
		}
		kept = append(kept, w)
	}
	clear(co.waiters[len(kept):])
	co.waiters = kept
}

// await waits until cond, which the owner runs, is true or an error, or until ctx ends; then its
// cause is the error. It is also when ctx is over from the beginning, whatever cond says.
func (co *core) await(ctx context.Context, cond func() (bool, error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	defer co.enter("")()
	w := &waiter{cond: cond, hit: make(chan error, 1)}
	if err := co.do(func() { co.waiters = append(co.waiters, w) }); err != nil {
		return err
	}
	select {
	case err := <-w.hit: // rather than the end of a ctx that has ended meanwhile
		return err
	default:
	}
	select {
	case err := <-w.hit:
		return err
	case <-ctx.Done():
		_ = co.do(func() {
			for i, other := range co.waiters {
				if other == w {
					co.waiters = append(co.waiters[:i], co.waiters[i+1:]...)
					break
				}
			}
		})
		return context.Cause(ctx)
	case <-co.ending:
		return ErrStopping
	case <-co.done:
		return ErrStopping
	}
}
