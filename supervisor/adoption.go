package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

// adoption finishes or undoes the change that the end of the last daemon has interrupted.
type adoption struct{ *change }

func (c *change) adoption() adoption { return adoption{c} }

var errRevertInterrupted = errors.New("its revert was interrupted by the end of the daemon")

// perform goes on with a live generation that was adopted, and finishes or undoes the
// change that the end of the last daemon has interrupted.
func (a adoption) perform() error {
	was, target := a.owner.journal.interrupted.Change, a.owner.journal.interrupted.Target
	half := a.owner.rolling
	_ = a.owner.do(func() { a.takeUp(was, half) })
	if err := a.step(stepAdopt, a.adopted); err != nil {
		return err
	}
	if was != nil {
		a.point(a.plan.Release) // the last daemon may have ended before it did
	}
	if half != nil {
		if err := a.roll().undoHalf(half); err != nil {
			return err
		}
	}
	if err := a.scaling().fit(a.to); err != nil {
		return err
	}
	if was != nil && was.Step == stepRevert && a.from != nil {
		if target != a.to.id { // the gates had turned back
			return a.finishRevert()
		}
		return a.undo().revert(errRevertInterrupted)
	}
	if err := a.resume(was); err != nil {
		if a.from == nil || errors.Is(err, ErrStopping) {
			return err
		}
		return a.undo().revert(err)
	}
	if err := a.retireOld(); err != nil {
		return err
	}
	if owesAfter(was) && target == a.to.id {
		a.hooks().after()
	}
	return nil
}

// takeUp makes the change what the adopted generations tell: the live one is its target, and one
// that is still warm is where it came from. Of half a roll nobody is started yet: the instances
// take turns with those that serve in their place.
func (a adoption) takeUp(was *ChangeStatus, half *generation) {
	a.to, a.from, a.plan = a.owner.live, nil, a.owner.live.plan
	a.release, a.committed = a.plan.Release, true
	a.from = a.owner.cameFrom()
	for _, g := range ordered(a.owner.generations) {
		g.awaitReady()
		if g.state == Standby && g != a.from { // the timer of the last daemon has ended with it
			g.keepWarm(max(0, a.plan.Standby-time.Since(g.since)))
		}
	}
	a.kind = Switch // how a generation that is still warm came about
	if a.from != nil {
		if r := &a.from.plan.Release; a.was.release == nil || r.Path != a.was.release.Path {
			a.was.liveSince = a.was.previousSince // of what is still warm
		}
		a.was.release = &a.from.plan.Release
		if was != nil && was.Kind != string(start) {
			a.kind = Kind(was.Kind)
		}
	}
	if half != nil {
		return
	}
	for _, in := range a.to.instances {
		if a.to.laned(in.proc) && in.w == nil {
			if err := in.open(); err != nil {
				a.owner.log.Error("open listener", append(in.fields(), zap.Error(err))...)
			}
		}
		if (len(in.proc.Listen) > 0 || a.kind == Restart) && !a.owner.demand.paused[in.proc.Name] {
			in.start()
		}
	}
}

// cameFrom is the warm generation that an interrupted change came from, and that a revert goes back
// to. Without one it is the warm generation that a rollback would go to, which is the youngest.
func (s *Supervisor) cameFrom() (from *generation) {
	for _, g := range s.generations {
		if g.state != Standby {
			continue
		}
		if s.journal.interrupted.Change != nil && g.id == s.journal.interrupted.From {
			return g
		}
		if from == nil || g.id > from.id {
			from = g
		}
	}
	return from
}

// finishRevert does what is left of a revert whose gates an earlier daemon had turned back.
func (a adoption) finishRevert() error {
	_ = a.owner.do(func() { a.from.reverted = true })
	if err := a.step(stepRevert, func(context.Context) (string, error) {
		return a.undo().goBack(a.from, a.to)
	}); err != nil {
		return err
	}
	a.plan = a.from.plan
	a.hooks().late(stepOnRevert, a.plan.Hooks.OnRevert, Reverted, errRevertInterrupted)
	return nil
}

func (a adoption) adopted(context.Context) (string, error) {
	n := 0
	err := a.owner.do(func() {
		for _, in := range a.to.instances {
			if in.w != nil {
				n++
			}
		}
	})
	return fmt.Sprintf("%d workers of generation %d serve on", n, a.to.id), err
}

// resume does what an interrupted change had still to do after its cutover.
func (a adoption) resume(was *ChangeStatus) error {
	after := []string{stepCutover, stepFollow, stepSettle, stepProbation}
	if a.from != nil && a.from.held {
		after = append(after, stepProve)
	}
	if was == nil || !slices.Contains(after, was.Step) {
		if a.background().any(a.to) {
			return a.step(stepFollow, a.background().follow)
		}
		return nil
	}
	return a.follow()
}
