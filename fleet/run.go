package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"superctl/api"
)

// run is a run in progress. Its fields are owned by loop, which handles one event after the other.
type run struct {
	Plan
	limits    Limits
	transport Transport
	observe   func(Progress)
	table     actions

	phase   phase
	members []*member // the canary host first
	wave    []*member // the hosts that cut over together now
	told    bool      // a host has got the word
	baked   bool      // the canary host is asked after its time
	failure error     // the first reason for which the run fails
	exit    int       // the exit code of that failure
	result  *Result

	warnings []string

	events chan event
	timer  *time.Timer     // of the phase
	ctx    context.Context //nolint:containedctx // of the goroutines, which end before the run does
	cancel context.CancelFunc
	work   context.Context //nolint:containedctx // of those that change hosts: not of the leases, which end after the report
	stop   context.CancelFunc
	gone   sync.WaitGroup
}

// member is a host of a run.
type member struct {
	name     string
	state    State
	err      error
	before   *api.Status
	releases map[string]listed // that it has, by name
	release  string            // the release that its change makes live
	outcome  *api.Outcome      // of its change
	told     bool              // it has the word
	ended    bool              // its change has ended, or its connection
	back     bool              // it was taken back, or needs not to be
	settled  bool              // nothing more is expected of it in this phase

	lease  *talk // nil = none
	change *talk // nil = not begun
}

// Do carries out a plan and returns how it ended; the result is never nil. The context is the
// operator's: its end before the first word aborts the run, and after it is reported and ignored.
// Observe is called from one goroutine and must not block.
func Do(ctx context.Context, plan Plan, t Transport, limits Limits, observe func(Progress)) *Result {
	r := newRun(ctx, plan, t, limits, observe)
	r.table = table()
	r.reach()
	return carryOut(ctx, r, conclusion{r})
}

// newRun returns a run that has not begun. Its goroutines outlive the operator's ctx until end.
func newRun(ctx context.Context, plan Plan, t Transport, limits Limits, observe func(Progress)) *run {
	r := &run{
		Plan: plan, limits: limits.withDefaults(), transport: t, observe: observe,
		events: make(chan event), timer: time.NewTimer(time.Hour),
		result: &Result{Run: plan.Run, By: plan.By, Kind: string(plan.Kind), Release: plan.Release, Started: time.Now()},
	}
	if plan.Bundle != nil {
		r.result.Kind = "deploy"
	}
	for _, name := range plan.Hosts {
		m := &member{name: name, state: Waiting}
		if name == plan.Canary {
			r.members = slices.Insert(r.members, 0, m)
		} else {
			r.members = append(r.members, m)
		}
	}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.work, r.stop = context.WithCancel(r.ctx)
	return r
}

// ending reports a run that is over.
type ending interface {
	fill()     // the result
	announce() // notifies the team, while the leases are held
}

// carryOut handles the events of a run that has begun, and reports its end.
func carryOut(ctx context.Context, r *run, e ending) *Result {
	r.loop(ctx)
	e.fill()
	r.result.Seconds = time.Since(r.result.Started).Seconds()
	r.end(e.announce)
	return r.result
}

// loop handles events until the run is over. The end of ctx is an event; one that comes after it is
// handled after it.
func (r *run) loop(ctx context.Context) {
	defer r.timer.Stop()
	handle := func(ev event) { r.table[cell{r.phase, ev.kind}](r, ev) }
	interrupt := ctx.Done()
	for r.phase != over {
		var ev event
		select {
		case ev = <-r.events:
			if interrupt != nil && ctx.Err() != nil {
				interrupt = nil
				handle(event{kind: interrupted})
			}
		case <-r.timer.C:
			ev = event{kind: overdue}
		case <-interrupt:
			ev, interrupt = event{kind: interrupted}, nil
		}
		handle(ev)
	}
}

// end calls last, while the leases are held, and ends all goroutines.
func (r *run) end(last func()) {
	ended := make(chan struct{})
	go func() {
		last()
		for _, m := range r.members {
			m.lease.close()
			m.change.close()
		}
		r.gone.Wait()
		close(ended)
	}()
	late := time.NewTimer(announceTime + r.limits.Abort)
	defer late.Stop()
	for {
		select {
		case <-r.events:
		case <-late.C:
			r.cancel()
		case <-ended:
			r.cancel()
			return
		}
	}
}

// enter begins a phase that lasts at most limit.
func (r *run) enter(p phase, limit time.Duration) {
	r.phase = p
	r.timer.Reset(limit)
	for _, m := range r.members {
		m.settled = false
	}
}

// begin runs f, which returns an event, in a goroutine.
func (r *run) begin(limit time.Duration, f func(ctx context.Context) event) {
	r.gone.Go(func() {
		ctx, cancel := context.WithTimeout(r.work, limit)
		defer cancel()
		r.events <- f(ctx)
	})
}

// note records the state of a host and reports it.
func (r *run) note(m *member, s State, detail string) {
	m.state = s
	r.observe(Progress{Host: m.name, State: s, Detail: detail})
}

// say reports something about the run as a whole.
func (r *run) say(format string, args ...any) {
	r.observe(Progress{Detail: fmt.Sprintf(format, args...)})
}

// settle records that a host has done its part of the phase, and reports whether all have.
func (r *run) settle(m *member) bool {
	m.settled = true
	return !slices.ContainsFunc(r.members, func(m *member) bool { return !m.settled })
}

// fail records why the run fails; the first reason is the one that counts.
func (r *run) fail(exit int, err error) {
	if r.failure == nil {
		r.failure, r.exit = err, exit
	}
}

// on returns an error of a host.
func on(m *member, err error) error { return fmt.Errorf("%s: %w", m.name, err) }

func (r *run) canary() *member { return r.members[0] }
