package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"superctl/api"
	"superctl/supervisor/worker"
)

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
	c.life, c.kill = context.WithCancelCause(worker.WithMark(context.Background(), ad.owner.mark()))
	c.ctx, c.cancel = context.WithCancelCause(c.life)
	c.from = ad.owner.live
	c.was.release, c.was.previous = ad.owner.release, ad.owner.previous
	c.was.liveSince, c.was.previousSince = ad.owner.liveSince, ad.owner.previousSince
	ad.owner.change = c
	ad.async(c.run)
	return c, nil, nil
}

// beginOwn begins a change that the daemon itself asks for. The log and the history tell its
// outcome, so its events are dropped.
func (ad *admission) beginOwn(req Request) error {
	c, _, err := ad.begin(req)
	if err == nil {
		ad.async(c.dropEvents)
	}
	return err
}

// end makes way for the next change. finished is the end of the change that a start has finished, and
// told is whether there is nothing more to announce.
func (ad *admission) end(c *change, err error, finished *Outcome, told bool) {
	ad.owner.change = nil
	ad.owner.listeners.unite()
	if err == nil {
		c.noteLeader()
	}
	if told {
		ad.owner.owed = nil
	}
	if c.req.Kind != start && !c.req.DryRun && !yielded(err) {
		ad.owner.last = c.outcome.WithoutOutput()
	}
	if finished != nil {
		ad.owner.last = finished.WithoutOutput()
	}
	ad.owner.journal.interrupted, ad.owner.journal.dirty = state{}, true // the first change has finished it
	ad.owner.store.check()
	ad.owner.startup.ended(c, err)
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
