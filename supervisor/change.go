package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"superctl/api"
)

// change is one transaction (DESIGN 6). It runs in a goroutine of its own, step by step, and
// reaches what the owner owns through do and await only.
type change struct {
	owner *Supervisor
	req   Request
	began time.Time

	// ctx ends when the change must not go on: before the cutover because it was canceled, at
	// any time because the daemon stops or because a rollback overtakes a probation. The cause says
	// which.
	ctx    context.Context //nolint:containedctx // it is the lifetime of the change itself, not of one call
	cancel context.CancelCauseFunc
	// life ends with the daemon only.
	life context.Context //nolint:containedctx // likewise
	kill context.CancelCauseFunc
	done chan struct{}
	reporter

	// Owned by Run.
	stepName  string
	release   Release // where it goes, once that is known
	committed bool    // the gate has turned
	word      word    // that a prepared change waits for

	from, to *generation

	// Owned by the goroutine of the change.
	turned time.Duration // how long the gates took to turn; 0 = they have not
	// what it does: the request's, or that of the change which it finishes for an earlier daemon
	kind      Kind
	plan      Plan
	side      *sideCheck // of the plan; nil = it has none
	inherits  bool       // to has the listeners of from, whatever the config says now
	warm      bool       // to is an earlier generation that was kept
	unchanged string
	waits     *WaitError // why the start of the daemon has not begun; nil = it has
	revives   bool       // it goes to the live release, which does not serve
	begun     bool       // its `before` hooks, or its workers
	was       struct {
		release, previous        *Release
		liveSince, previousSince *liveSince
	}
	steps    []Step
	output   []string          // of the step's commands
	judged   []api.GuardReport // by the guard, in a canary and in the probation
	differs  *api.VariableChanges
	traffic  traffic
	packages *api.PackageChanges // that differ, in a dry run
	before   []string            // the hooks that would run, in a dry run
	outcome  *Outcome
	verdict  *Outcome // what its followers are told: outcome, or the end of the change that a start has finished
	begins   *Outcome // what is still to be told of its beginning
}

var (
	errHungUp     = errors.New("the client hung up before the cutover")
	errGoneBefore = errors.New("the client is gone, and the change has not begun")
	errPassed     = errors.New("the time is over")
)

// overtakenError is the end of a probation or a canary by a rollback.
type overtakenError struct{ who, step string }

func (e *overtakenError) Error() string { return "rolled back by " + e.who + " during its " + e.step }

// Change runs one change and returns when its outcome is known; emit gets its events as they
// happen. When ctx ends before the cutover the change is aborted, unless the cause is
// api.ErrClientGone or the request says Detach; after it the change goes on to its end. A change that
// is prepared needs its client, and is aborted in either case. The error is a *BusyError or a
// *RefusedError: nothing was begun.
func (s *Supervisor) Change(ctx context.Context, req Request, emit func(Event)) (*Outcome, error) {
	if req.DryRun && !turnsOver(req.Kind) {
		return nil, &RefusedError{Usage: true, Err: fmt.Errorf("a %s has no dry run: leave out --dry-run", req.Kind)}
	}
	if req.Kind == Upgrade {
		return s.handover.upgrade(ctx, req, emit)
	}
	began := time.Now()
	c, busy, err := s.admission.await(ctx, req, emit)
	for busy != nil {
		<-busy.done
		if busy.req.Kind != Restart {
			return overtake(busy, req, began), nil
		}
		// The workers before the restart are of the same release: the rollback is still to come.
		if c, busy, err = s.admission.await(ctx, req, emit); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	unhook := context.AfterFunc(ctx, func() {
		_ = s.do(func() { c.canceling().clientEnded(context.Cause(ctx)) })
	})
	defer unhook()
	for ev := range c.events {
		if ctx.Err() == nil {
			emit(ev)
		}
	}
	<-c.done
	return c.outcome, nil
}

// run performs the change and ends it.
func (c *change) run() {
	err := c.perform()
	c.hooks().undone(err)
	if (err != nil || c.unchanged != "") && !errors.Is(err, ErrStopping) && !c.req.DryRun {
		c.putBack()
	}
	c.announce().log(err)
	c.outcome = c.announce().conclude(err)
	finished := c.announce().finished(err)
	c.verdict = cmp.Or(finished, c.outcome)
	c.announce().record(c.verdict, err)
	var used map[string]bool
	if c.owner.do(func() { used = c.owner.memory.valuesInUse() }) == nil {
		c.owner.memory.clearValues(used) // the plan of a refused change is not needed any more
	}
	told := mistyped(err) || !c.req.DryRun && c.announce().end(finished, err)
	c.cancel(nil)
	c.kill(nil)
	_ = c.owner.do(func() { c.owner.admission.end(c, err, finished, told) })
	close(c.events)
	c.followers.end()
	close(c.done)
	c.owner.releaseWatch.examine()
}

func (c *change) fault(point string) { c.owner.fault(string(c.req.Kind), point) }

// fault is where a test may end the daemon.
func (co *core) fault(of, point string) {
	if co.opt.Fault != nil {
		co.opt.Fault(of + ": " + point)
	}
}
