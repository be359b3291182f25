package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// comeBack undoes a hold before its cutover: the old release serves what has waited.
func (h holding) comeBack(cause error) error {
	if errors.Is(cause, ErrStopping) {
		return cause
	}
	if err := h.step(stepComeBack, func(context.Context) (string, error) { return h.serveAgain(h.from) }); err != nil {
		h.warn("%s does not serve again yet: %v", h.from.plan.Release.Name, err)
	}
	return cause
}

// serveAgain starts what does not run of a live generation.
func (h holding) serveAgain(g *generation) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), h.undo().undoLimit())
	defer cancel()
	if err := h.owner.do(g.wantListening); err != nil {
		return "", err
	}
	err := h.awaitReady(ctx, g)
	if errors.Is(err, ErrStopping) {
		return "", err
	}
	_, failed := h.background().serve(ctx, g)
	if err := errors.Join(err, failed); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (generation %d) serves", g.plan.Release.Name, g.id), nil
}

// turnBackHeld is a revert of a plan that must not overlap the old one: what is held back this
// time is the old release. When no worker of the new one is left to serve its queue, the old one
// gets that queue too.
func (h holding) turnBackHeld() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), h.undo().undoLimit())
	defer cancel()
	failed := h.to
	if err := h.undo().stopBackground(ctx, failed); err != nil {
		return "", err
	}
	dead := ask(h.owner.core, func() bool { return !failed.serves() })
	if err := h.turnToHeldAgain(dead); err != nil {
		return "", err
	}
	h.point(&h.from.plan)
	if !dead {
		if _, err := h.settle(ctx, failed); err != nil {
			return "", err
		}
	}
	if err := h.owner.do(failed.retire); err != nil {
		return "", err
	}
	select {
	case <-failed.done:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-h.owner.done:
		return "", ErrStopping
	}
	return h.serveAgain(h.from)
}

// turnToHeldAgain has the old generation held and live, and the state file know of both. The failed
// generation may be dead.
func (h holding) turnToHeldAgain(dead bool) error {
	var back *generation
	var taken map[string]listener
	if err := h.undo().untilDone(func() (err error) {
		if err := h.undo().refuseStopping(); err != nil {
			return err
		}
		if dead {
			taken = maps.Clone(h.to.staged)
		}
		back, err = h.from.newHeld(taken)
		return err
	}); err != nil {
		return err
	}
	_ = h.owner.journal.durable() // it says so itself, and the site must not stay down for it
	if err := h.undo().untilDone(func() error { return h.holdAgain(back, dead) }); err != nil {
		return errors.Join(err, h.owner.do(func() { back.retireWithout(taken) }))
	}
	_ = h.owner.journal.durable()
	return nil
}

// holdAgain is turnToHeldAgain as the owner does it: back, which is held, becomes live in the place of
// the failed generation. When that is dead, back has its listeners.
func (h holding) holdAgain(back *generation, dead bool) error {
	err := h.undo().refuseStopping()
	if err == nil {
		err = h.owner.listeners.turnGates(back, h.to)
	}
	if err != nil {
		return err
	}
	if dead {
		clear(h.to.staged)
	}
	h.undo().restoreRecords()
	h.to.transit(superseded)
	back.transit(cutOver)
	way := h.from
	h.owner.live, h.from = back, back
	way.retire()
	return nil
}
