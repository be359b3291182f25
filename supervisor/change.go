package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"superctl/api"

	"go.uber.org/zap"
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

// admission decides which change may begin.
type admission struct {
	*core
	owner *Supervisor
	lease *api.LockStatus // nil = all changes are accepted

	leaseEnded chan struct{} // closed when the lease has ended; nil = there is none
}

// startPatience is for how long a change waits until the start of a daemon is decided, and
// recyclePatience until the replacement of a worker that has reached a limit is over.
const (
	startPatience   = 10 * time.Second
	recyclePatience = time.Minute
)

// admit begins a change. One that meets a daemon which is just taking over what runs waits until it
// has: that takes a moment, and an operator who has upgraded or restarted the daemon right before
// knows nothing of it. Nor does an operator know of a worker that is being recycled.
func (ad *admission) admit(ctx context.Context, req Request) (c, busy *change, err error) {
	for waited := false; ; waited = true {
		var decided <-chan struct{}
		patience := startPatience
		ad.enter(req.Who)
		stopped := ad.do(func() {
			if decided = ad.owner.startup.pending(); decided == nil {
				if decided = ad.recycled(req); decided != nil {
					patience = recyclePatience
				}
			}
			if decided == nil || waited {
				decided = nil
				if err = ad.refuseVain(ctx, req.Run); err == nil {
					c, busy, err = ad.begin(req)
				}
			}
		})
		if stopped != nil {
			return nil, nil, &RefusedError{Err: stopped}
		}
		if decided == nil {
			return c, busy, err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		select {
		case <-decided:
		case <-ad.done:
		case <-ctx.Done():
		}
		cancel()
	}
}

// refuseVain returns why a change must not begin: its client is gone, or the app is locked for another
// run.
func (ad *admission) refuseVain(ctx context.Context, run string) error {
	if errors.Is(context.Cause(ctx), api.ErrClientGone) {
		return &RefusedError{Err: errGoneBefore}
	}
	return ad.refuseLocked(run)
}

// recycled returns what is closed when the recycling in progress is over; nil when there is none.
func (ad *admission) recycled(req Request) <-chan struct{} {
	c := ad.owner.change
	if c == nil || !c.req.Recycle {
		return nil
	}
	c.yield(req.By(req.Who))
	return c.done
}

// pending returns what is closed when the start in progress is decided, nil when none is: a
// change waits for the first one, and for one that is tried again because an earlier one has
// failed.
func (su *startup) pending() <-chan struct{} {
	switch {
	case su.owner.change == nil || su.owner.change.req.Kind != start:
		return nil
	case su.tries > 0:
		return su.owner.change.done
	default:
		return su.started
	}
}

// begin makes req the change in progress. A rollback that meets a probation or a canary ends that
// instead, and gets the change to wait for as busy.
func (ad *admission) begin(req Request) (c, busy *change, err error) {
	switch {
	case ad.owner.stopping:
		return nil, nil, &RefusedError{Err: ErrStopping}
	case ad.owner.change != nil && req.Kind == Rollback && !req.DryRun && ad.owner.change.overtakable() &&
		(req.Expect == "" || req.Expect == ad.owner.change.release.Name):
		ad.owner.change.to.endCanary()
		ad.owner.change.cancel(&overtakenError{req.By(req.Who), ad.owner.change.stepName})
		return nil, ad.owner.change, nil
	case ad.owner.change != nil:
		return nil, nil, &BusyError{Changing: *ad.owner.changing()}
	}
	if err := ad.refuse(req); err != nil {
		return nil, nil, err
	}
	if err := ad.refuseCanary(req); err != nil {
		return nil, nil, err
	}
	if err := ad.refusePrepare(req); err != nil {
		return nil, nil, err
	}
	if err := ad.refuseClaims(req); err != nil {
		return nil, nil, err
	}
	c = &change{
		owner: ad.owner, req: req, kind: req.Kind, began: time.Now(), done: make(chan struct{}),
		stepName: beforeSteps,
	}
	c.reporter = reporter{of: c, events: make(chan Event, 1024)}
	c.life, c.kill = context.WithCancelCause(context.Background())
	c.ctx, c.cancel = context.WithCancelCause(c.life)
	c.from = ad.owner.live
	c.was.release, c.was.previous = ad.owner.release, ad.owner.previous
	c.was.liveSince, c.was.previousSince = ad.owner.liveSince, ad.owner.previousSince
	ad.owner.change = c
	ad.async(c.run)
	return c, nil, nil
}

// overtakable reports whether a rollback ends the change instead of being refused: users reach its
// generation, and it can still be undone in an instant.
func (c *change) overtakable() bool {
	switch {
	case c.from == nil:
		return false
	case c.stepName == stepReady:
		return c.to != nil && c.to.canary != nil
	}
	return c.stepName == stepProbation || c.stepName == stepCanary
}

// refuse says why a request can be no change.
func (ad *admission) refuse(req Request) error {
	switch req.Kind {
	case Switch:
		if req.Release == "" {
			return &RefusedError{Usage: true, Err: errors.New("switch needs a release; superctl releases lists them")}
		}
	case Rollback:
		if ad.owner.previous == nil && meets(req.Expect, ad.owner.live, ad.owner.release) {
			return &RefusedError{Err: errors.New("there is no earlier release to go back to; superctl switch RELEASE goes to any")}
		}
	case Reload:
		if ad.owner.live == nil {
			return &RefusedError{Err: errors.New("no release is live, so there is nothing to reload; superctl switch RELEASE starts one")}
		}
	case Restart, Scale, Pause, Resume:
		if ad.owner.live == nil {
			return &RefusedError{Err: fmt.Errorf(
				"no release is live, so there is nothing to %s; superctl switch RELEASE starts one", req.Kind,
			)}
		}
		if err := ad.refuseInPlace(req); err != nil {
			return &RefusedError{Usage: true, Err: err}
		}
	case api.Maintenance:
		return ad.owner.maintenance.refuse(req.Maintenance)
	case start:
	default:
		return &RefusedError{Usage: true, Err: fmt.Errorf("unknown kind of change %q", req.Kind)}
	}
	return nil
}

// refuseInPlace says why a request is none for the processes of the live generation.
func (ad *admission) refuseInPlace(req Request) error {
	switch req.Kind {
	case Scale:
		return ad.refuseScale(req.Instances)
	case Pause, Resume:
		return ad.refusePause(req.Process)
	default:
		return ad.refuseRestart(req)
	}
}

func processNames(p Plan) []string {
	names := make([]string, len(p.Processes))
	for i := range p.Processes {
		names[i] = p.Processes[i].Name
	}
	return names
}

// overtake is the outcome of a rollback that ended another change's probation or canary. Its times are
// the rollback's own.
func overtake(c *change, req Request, began time.Time) *Outcome {
	out := *c.outcome
	out.Kind, out.Who, out.Origin = string(Rollback), req.Who, req.Origin
	out.Started, out.Seconds, out.CutoverSeconds = began, time.Since(began).Seconds(), 0
	if out.Result == Reverted || out.Result == Aborted {
		out.Result, out.Changed = Done, true
		out.Release, out.Previous, out.Commit, out.PreviousCommit = out.Previous, out.Release, out.PreviousCommit, out.Commit
		out.Error, out.Log = "", nil
	}
	return &out
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
	_ = c.owner.do(func() {
		c.owner.change = nil
		c.owner.listeners.unite()
		if err == nil {
			c.noteLeader()
		}
		if told {
			c.owner.owed = nil
		}
		if c.req.Kind != start && !c.req.DryRun && !yielded(err) {
			c.owner.last = c.outcome.WithoutOutput()
		}
		if finished != nil {
			c.owner.last = finished.WithoutOutput()
		}
		c.owner.journal.dirty = true
		c.owner.store.check()
		c.owner.startup.ended(c, err)
	})
	close(c.events)
	c.followers.end()
	close(c.done)
	c.owner.releaseWatch.examine()
}

// mistyped reports whether a change was asked to go to a release that there is not, or from one that
// is not live: only its client needs to know.
func mistyped(err error) bool {
	var none *NoSuchReleaseError
	var other *unexpectedError
	return errors.As(err, &none) || errors.As(err, &other)
}

func (an announcements) log(err error) {
	ended := []zap.Field{
		zap.String("kind", string(an.req.Kind)), zap.String("who", an.req.By(an.req.Who)),
		zap.String("release", an.plan.Release.Name),
	}
	if err != nil {
		ended = append(ended, zap.String("error", an.errorText(err)))
	}
	an.owner.log.Info("change ended", ended...)
}

// record writes an outcome to the history, unless nothing has changed, it will be tried again, or it is
// the next daemon's to say.
func (an announcements) record(out *Outcome, failed error) {
	if an.owner.opt.Record == nil || an.goesOn(failed) || !an.outcome.Changed && failed == nil || an.firstStart().retries(failed) ||
		an.req.DryRun || mistyped(failed) || yielded(failed) {
		return
	}
	if err := an.owner.journal.toHistory(*out); err != nil {
		an.owner.log.Error("record history", zap.Error(err))
		an.outcome.Warnings = append(an.outcome.Warnings, "the history could not be written: "+err.Error())
	}
}

// conclude says how the change ended.
func (an announcements) conclude(err error) *Outcome {
	outline := an.outline()
	out := &outline
	out.Result, out.Changed, out.Steps, out.Warnings, out.Seconds = Done, an.unchanged == "", an.steps, an.warnings, time.Since(an.began).Seconds()
	out.CutoverSeconds, out.Guard = an.turned.Seconds(), an.judged
	if out.Changed {
		out.Variables = an.differs
		out.Packages, out.Before = an.packages, an.before
	}
	out.Traffic = an.traffic.report(&an.plan)
	if an.plan.Release.Name != "" {
		out.Release, out.Commit = an.plan.Release.Name, an.plan.Release.Commit
	}
	_ = an.owner.do(func() {
		if an.owner.live != nil {
			out.Generation = an.owner.live.id
		}
	})
	if an.req.Cause != "" {
		out.Warnings = slices.Insert(slices.Clone(out.Warnings), 0, an.req.Cause)
	}
	if err == nil {
		return out
	}
	out.Changed = false
	out.Result = Aborted
	out.Error = an.errorText(err)
	var rev *revertedError
	if errors.As(err, &rev) {
		out.Result = Reverted
	}
	an.blame(out, err)
	return out
}

// blame says where a change has failed, and by what.
func (an announcements) blame(out *Outcome, err error) {
	var at *stepError
	if errors.As(err, &at) {
		out.FailedStep = at.step
	}
	var f *failure
	if !errors.As(err, &f) {
		return
	}
	out.Log, out.ExitCode, out.Culprit = an.cleanAll(f.log), f.exit, f.culprit
	if out.Culprit == "" && len(f.log) > 0 {
		out.Culprit = api.Worker
	}
}

// stepError is the error of a step.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }

func (e *stepError) Unwrap() error { return e.err }

// step runs one step: durable before it begins, unless that would be of no use to the next daemon,
// told when it begins and ends, with a fault point on either side.
func (c *change) step(name string, do func(context.Context) (string, error)) error {
	if err := c.owner.do(func() { c.stepName = name }); err != nil {
		return err
	}
	if err := c.save().before(name); err != nil {
		return err
	}
	c.fault("before " + name)
	c.emit(Event{Type: "begin", Step: name, Limit: c.plan.limitOf(name, c.req.Prepare).Seconds()})
	began := time.Now()
	c.output = nil
	detail, err := do(c.ctx)
	seconds := time.Since(began).Seconds()
	c.fault("after " + name)
	if err != nil {
		c.emit(Event{Type: "fail", Step: name, Detail: err.Error(), Seconds: seconds})
		c.steps = append(c.steps, Step{
			Name: name, Began: began, Seconds: seconds, Detail: c.errorText(err), Output: c.output,
		})
		return &stepError{name, err}
	}
	detail = c.clean(detail)
	c.emit(Event{Type: "end", Step: name, Detail: detail, Seconds: seconds})
	c.steps = append(c.steps, Step{Name: name, Began: began, Seconds: seconds, Detail: detail, Output: c.output})
	return nil
}

// limitOf is the longest that a step takes; 0 = not known. prepare is how long a prepared change
// waits.
func (p *Plan) limitOf(step string, prepare time.Duration) (limit time.Duration) {
	switch step {
	case stepProbation:
		return p.Probation
	case stepReady:
		return prepare
	case stepProve:
		for i := range p.Processes {
			if p := &p.Processes[i]; len(p.Listen) > 0 {
				limit = max(limit, p.StartTimeout)
			}
		}
	}
	return limit
}

func (c *change) fault(point string) { c.owner.fault(string(c.req.Kind), point) }

// fault is where a test may end the daemon.
func (co *core) fault(of, point string) {
	if co.opt.Fault != nil {
		co.opt.Fault(of + ": " + point)
	}
}
