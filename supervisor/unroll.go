package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// abandonHalf undoes a roll before its end: what was replaced goes back, the newest first, and what
// had failed is stopped before, so that there is room.
func (r rolling) abandonHalf(cause error) error {
	if r.to == nil || errors.Is(cause, ErrStopping) {
		return r.undo().abandon(cause)
	}
	if err := r.step(stepComeBack, func(context.Context) (string, error) {
		return r.rollTo(r.from, r.to)
	}); err != nil {
		r.warn("%s is not whole again yet: %v", r.from.plan.Release.Name, err)
	}
	_ = r.endRoll()
	return r.undo().abandon(cause)
}

// rollTo brings every worker of one generation back in the place of another's.
func (r rolling) rollTo(back, failed *generation) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.undo().undoLimit())
	defer cancel()
	if err := r.stopBroken(ctx, failed); err != nil {
		return "", err
	}
	for _, b := range slices.Backward(r.batches(failed, back)) {
		if err := r.serveBatch(ctx, b.in); err != nil {
			return "", err
		}
		if err := r.stopBatch(ctx, b.out); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s (generation %d) is whole", back.plan.Release.Name, back.id), nil
}

// stopBroken stops what does not serve of a generation, so that there is room; what proves itself
// only now gets no connections any more. One that an earlier daemon has started may have had some:
// the state file is older than the last turn of the gate.
func (r rolling) stopBroken(ctx context.Context, failed *generation) error {
	var broken []*instance
	var queues []listener
	if err := r.owner.do(func() {
		for _, in := range failed.instances {
			if in.state != InstanceReady && len(in.proc.Listen) > 0 {
				broken = append(broken, in)
			}
		}
		queues = r.turnAway(broken)
	}); err != nil {
		return err
	}
	if r.req.Kind == start {
		_, _ = settleQueues(ctx, queues, unroutableTime) // its worker may be unable to accept
	}
	if err := r.background().stopAll(ctx, func() []*instance { return broken }); err != nil {
		return err
	}
	// No worker will ever accept what is queued there: our own probes, if it has not proved itself.
	return r.owner.do(func() {
		for _, in := range broken {
			in.closeOwn()
		}
	})
}

// vouch has instances of a release that was live not asked for their health when they come back on
// a queue that they share with the failed release: its workers would answer for them.
func (r rolling) vouch(list []*instance) error {
	if r.apart() {
		return nil
	}
	return r.owner.do(func() {
		for _, in := range list {
			in.vouched = in.state != InstanceReady
		}
	})
}

// serveBatch starts again what does not run, and waits until it serves.
func (r rolling) serveBatch(ctx context.Context, list []*instance) error {
	if err := r.vouch(list); err != nil {
		return err
	}
	if err := r.undo().untilDone(func() error { return startNow(list) }); err != nil {
		return err
	}
	return r.owner.await(ctx, func() (bool, error) {
		return !slices.ContainsFunc(list, func(in *instance) bool { return in.state != InstanceReady }), nil
	})
}

// turnBackAll is a revert of a roll: the same in the other direction.
func (r rolling) turnBackAll() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.undo().undoLimit())
	defer cancel()
	failed, back := r.to, r.from
	if err := r.undo().stopBackground(ctx, failed); err != nil {
		return "", err
	}
	if err := r.owner.try(func() error { return r.makeLiveAgain(back, failed) }); err != nil {
		return "", err
	}
	_ = r.owner.journal.durable() // it says so itself
	r.point(&back.plan)
	_, err := r.rollTo(back, failed)
	if stopped := r.owner.do(func() {
		r.owner.rolling = nil
		if !r.apart() {
			clear(failed.staged)
		}
		failed.retire()
	}); stopped != nil {
		return "", stopped
	}
	if err := errors.Join(err, r.undo().backgroundAgain(ctx, back)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (generation %d) is live again", back.plan.Release.Name, back.id), nil
}

// makeLiveAgain is the cutover of a roll in the other direction, as the owner does it.
func (r rolling) makeLiveAgain(back, failed *generation) error {
	if err := r.undo().refuseStopping(); err != nil {
		return err
	}
	if !r.apart() {
		maps.Copy(back.staged, failed.staged)
	}
	back.held = false
	r.carry(failed, back)
	failed.transit(superseded)
	back.transit(cutOver)
	r.owner.live, r.owner.rolling = back, failed
	r.undo().restoreRecords()
	return nil
}

// halfRolled finds the generation that was taking the place of the live one, instance by instance,
// when the last daemon ended. It serves on until the live one is whole again; all of the live one
// may be gone.
func (rc *recovery) halfRolled(st *state) *generation {
	was := st.Change
	if was == nil || was.Step != stepRoll && was.Step != stepComeBack && was.Step != stepCutover {
		return nil
	}
	g := rc.owner.generations[st.Target]
	if g == nil || g.id == st.Live || !g.tried || !g.plan.rolls() || g.state != Booting && g.state != Staged {
		return nil
	}
	return g
}

// undoHalf takes back a roll that the end of the last daemon has interrupted.
func (r rolling) undoHalf(half *generation) error {
	err := r.step(stepComeBack, func(context.Context) (string, error) { return r.rollTo(r.to, half) })
	if stopped := r.endRoll(); stopped != nil {
		return stopped
	}
	if ask(r.owner.core, func() bool { return r.owner.live != nil && r.owner.live.unroutable }) {
		r.owner.async(half.withdrawAdopted) // it waits for the successor of the live generation (see renew)
		return err
	}
	half.withdrawAdopted()
	return err
}

// endRoll tells the owner that no roll is in progress any more.
func (r rolling) endRoll() error {
	return r.owner.do(func() { r.owner.rolling = nil })
}
