package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// undo takes back a change that has failed.
type undo struct{ *change }

func (c *change) undo() undo { return undo{c} }

// revertedError is a failure after the cutover: the old generation is live again.
type revertedError struct{ err error }

func (e *revertedError) Error() string { return e.err.Error() }
func (e *revertedError) Unwrap() error { return e.err }

// abandon undoes a change that fails before its cutover: what was staged is stopped, nothing else
// has changed.
func (u undo) abandon(cause error) error {
	if u.to == nil || u.warm {
		return cause
	}
	if u.canary().tried() {
		return u.withdrawn(cause)
	}
	_ = u.owner.do(func() {
		if u.to.failure == nil {
			u.to.failure = &failure{reason: cause.Error()}
		}
	})
	if err := u.stopStaged(); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// withdrawn ends a canary. One that the guard has found worse had users, and is reverted.
func (u undo) withdrawn(cause error) error {
	var f *failure
	if !errors.As(cause, &f) || !f.guard {
		return u.canary().withdraw(cause)
	}
	_ = u.owner.do(func() {
		if u.owner.owed != nil {
			u.owner.owed.Result, u.owner.owed.Error = Reverted, cause.Error()
		}
	})
	return &revertedError{u.canary().withdraw(cause)}
}

// stopStaged stops what was staged, and waits for its end.
func (u undo) stopStaged() error {
	if err := u.owner.do(u.to.retire); err != nil {
		return err
	}
	select {
	case <-u.to.done:
	case <-u.owner.done:
	}
	return nil
}

// revert turns everything back to the generation that was live before.
func (u undo) revert(cause error) error {
	u.emit(Event{Type: "progress", Step: stepRevert, Detail: cause.Error()})
	if errors.Is(cause, ErrStopping) {
		return cause
	}
	_ = u.owner.do(func() {
		u.to.reverted = true
		if u.owner.owed != nil {
			u.owner.owed.Result, u.owner.owed.Error = Reverted, cause.Error()
		}
	})
	if u.from != nil && u.from.held {
		u.count().atEnd()
	}
	if err := u.step(stepRevert, u.turnBack); err != nil {
		u.warn("the revert is not complete: %v", err)
	}
	return &revertedError{cause}
}

// turnBack does not listen to the change's ctx: a rollback that overtook the probation has ended
// it, and going back must not be left half done.
func (u undo) turnBack(context.Context) (string, error) {
	if stopping, err := u.leaveBack(); stopping {
		return "", err
	}
	detail, err := u.turnBackTo()
	if errors.Is(err, ErrStopping) { // the stop has come since
		_, err = u.leaveBack()
	}
	return detail, err
}

// turnBackTo is turnBack as the strategy of the plan has it.
func (u undo) turnBackTo() (string, error) {
	switch {
	case u.from == nil || !u.from.held:
	case u.plan.hold() > 0:
		return u.hold().turnBackHeld()
	default:
		return u.roll().turnBackAll()
	}
	if err := u.untilDone(u.turnGatesBack); err != nil {
		return "", err
	}
	// A failure says so itself, and is tried again: what is left to do does not wait for it.
	err := u.owner.journal.durable()
	if u.from == nil {
		if err != nil {
			return "", err
		}
		return "nothing was live before, so nothing is now", nil
	}
	return u.goBack(u.to, u.from)
}

// undoTime is for how long a step of the way back is tried again, such as a gate to turn or a
// listener to open: the kernel may be short of memory for a moment, or another process may have the
// port. The failed release serves as long as it is.
const undoTime = time.Minute

// untilDone has the owner do something, again and again with back-off until it works.
func (u undo) untilDone(do func() error) error {
	limit := time.After(undoTime)
	for tries := 1; ; tries++ {
		err := u.owner.try(do)
		if err == nil || errors.Is(err, ErrStopping) {
			return err
		}
		select {
		case <-time.After(min(lastRetry, u.owner.backoff(tries))):
		case <-u.owner.done:
			return ErrStopping
		case <-limit:
			return err
		}
	}
}

// refuseStopping is asked before a generation becomes live again: while the daemon stops all of them
// end, and one that became live would stay.
func (u undo) refuseStopping() error {
	if u.owner.stopping {
		return ErrStopping
	}
	return nil
}

// leaveBack is a revert while the daemon stops: no worker is started any more, and the next daemon
// starts the release that was live before. It may be live again already: then this changes nothing.
func (u undo) leaveBack() (stopping bool, err error) {
	stopped := u.owner.do(func() {
		if stopping = u.owner.stopping; !stopping {
			return
		}
		u.restoreRecords()
		u.to.retire()
	})
	if stopping {
		err = u.owner.journal.durable()
	}
	if stopping && u.from != nil {
		u.point(&u.from.plan)
	}
	return stopping || stopped != nil, errors.Join(ErrStopping, err)
}

// goBack is what follows when the gates have turned back from one generation to another. Whatever
// of it has been done already, by an earlier daemon, can be done again.
func (u undo) goBack(failed, back *generation) (string, error) {
	u.count().atEnd()
	u.point(&back.plan)
	ctx, cancel := context.WithTimeout(context.Background(), u.undoLimit())
	defer cancel()
	if err := u.stopBackground(ctx, failed); err != nil {
		return "", err
	}
	incomplete := u.backgroundAgain(ctx, back)
	if _, err := u.settle(ctx, failed); err != nil {
		return "", err
	}
	if err := u.owner.do(failed.retire); err != nil {
		return "", err
	}
	if incomplete != nil {
		return "", incomplete
	}
	return fmt.Sprintf("%s (generation %d) is live again", back.plan.Release.Name, back.id), nil
}

// stopBackground stops the background processes of the generation that has failed: the one that comes
// back may have no name for one of them, and `single` processes never run twice. A restart has left
// them alone, and so does its revert.
func (u undo) stopBackground(ctx context.Context, failed *generation) error {
	if u.kind == Restart {
		return nil
	}
	if err := u.background().stopAll(ctx, func() []*instance { return withoutListeners(failed) }); err != nil {
		return fmt.Errorf("stop the background processes of %s: %w", failed.plan.Release.Name, err)
	}
	return nil
}

// backgroundAgain starts the background processes of the generation that is live again. What the
// error tells of is started again until it works.
func (u undo) backgroundAgain(ctx context.Context, back *generation) error {
	if u.kind == Restart {
		return nil
	}
	if _, err := u.background().serve(ctx, back); err != nil {
		return fmt.Errorf("start the background processes of %s again: %w", back.plan.Release.Name, err)
	}
	return nil
}

// turnGatesBack is the gates' and the durable part of a revert, as the owner does it.
func (u undo) turnGatesBack() error {
	if err := u.refuseStopping(); err != nil {
		return err
	}
	if u.from == nil {
		u.restoreRecords()
		u.to.retire()
		return nil
	}
	if err := u.owner.listeners.turnGates(u.from, u.to); err != nil {
		return err
	}
	u.restoreRecords()
	u.carry(u.to, u.from)
	u.to.transit(superseded)
	u.from.transit(cutOver)
	u.owner.live = u.from
	u.owner.listeners.unite()
	u.owner.listeners.check()
	for _, in := range u.from.instances {
		if len(in.proc.Listen) > 0 {
			in.start() // a shared gate's had to stop at the cutover
		}
	}
	u.owner.journal.dirty = true
	return nil
}

// undoLimit bounds the wait for processes in a revert: all drains and starts that it may meet.
func (u undo) undoLimit() time.Duration {
	limit := u.plan.Settle
	plans := []Plan{u.plan}
	if u.from != nil {
		plans = append(plans, u.from.plan)
	}
	for _, plan := range plans {
		for i := range plan.Processes {
			if p := &plan.Processes[i]; len(p.Listen) == 0 || u.plan.hold() > 0 || u.plan.rolls() {
				rounds := 1
				if p.Strategy == Rolling {
					rounds = max(1, p.Instances, u.owner.demand.scaled(p.Name))
				}
				for range rounds {
					limit += max(p.DrainConnections, p.HookWait, p.AnswerWait) + p.Drain + p.StartTimeout + plan.Settle
				}
			}
		}
	}
	return limit
}

func withoutListeners(g *generation) []*instance {
	var list []*instance
	for _, in := range g.instances {
		if len(in.proc.Listen) == 0 {
			list = append(list, in)
		}
	}
	return list
}
