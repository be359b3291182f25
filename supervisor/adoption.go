package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"superctl/plain"
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
	var failed error
	_ = a.owner.do(func() { failed = a.takeUp(was, half) })
	if err := a.step(stepAdopt, a.adopted); err != nil {
		return err
	}
	if failed != nil {
		return a.undo().revert(failed)
	}
	if was != nil {
		a.point(&a.plan) // the last daemon may have ended before it did
	} else {
		a.refresh(&a.plan) // likewise
	}
	if half != nil {
		if err := a.roll().undoHalf(half); err != nil {
			return err
		}
	}
	if err := a.scaling().fit(a.to); err != nil {
		return err
	}
	if a.reverts(was, target) {
		return a.goOnReverting(target)
	}
	if err := a.resume(was); err != nil {
		return a.revertIfPossible(err)
	}
	if err := a.retireOld(); err != nil {
		return err
	}
	if owesAfter(was) && target == a.to.id {
		a.hooks().after()
	}
	return nil
}

// reverts reports whether the interrupted change was being reverted, and both of its generations are there.
func (a adoption) reverts(was *ChangeStatus, target int) bool {
	return was != nil && was.Step == stepRevert && a.from != nil && (target == a.to.id || target == a.from.id)
}

// goOnReverting ends a revert that the end of the last daemon has interrupted.
func (a adoption) goOnReverting(target int) error {
	if target == a.from.id { // the gates had turned back
		return a.finishRevert()
	}
	return a.undo().revert(errRevertInterrupted)
}

// revertIfPossible reverts a change that has failed, when there is a generation to go back to.
func (a adoption) revertIfPossible(failed error) error {
	if a.from == nil || errors.Is(failed, ErrStopping) {
		return failed
	}
	return a.undo().revert(failed)
}

// takeUp makes the change what the adopted generations tell: the live one is its target, and one
// that is still warm is where it came from. Half a roll starts no worker yet: the instances take
// turns with those that serve in their place. It returns why the target has failed while no daemon
// ran; its workers are started nevertheless, for the connections that wait in its queue.
func (a adoption) takeUp(was *ChangeStatus, half *generation) (failed error) {
	if was != nil {
		a.req.Run, a.req.Follower = was.Run, was.Follower // for its hooks
	}
	a.to, a.from, a.plan = a.owner.live, a.owner.cameFrom(), a.owner.live.plan
	a.release, a.committed = a.plan.Release, true
	for _, g := range ordered(a.owner.generations) {
		g.awaitReady()
		if g.state == Standby && g != a.from { // the timer of the last daemon has ended with it
			g.keepWarm(max(0, a.plan.Standby-time.Since(g.since)))
		}
	}
	a.comeFrom(was)
	if a.from != nil && a.from.id == a.owner.journal.interrupted.From && mayGoBack(was) {
		a.from.replaceEnded()
	}
	if half != nil {
		return nil
	}
	failed = a.judge(was)
	if !a.to.lost {
		a.startWorkers()
	}
	return failed
}

// comeFrom makes the change what the interrupted one was, if there is a way back from it.
func (a adoption) comeFrom(was *ChangeStatus) {
	a.kind = Switch // how a generation that is still warm came about
	if a.from == nil {
		return
	}
	if r := &a.from.plan.Release; a.was.release == nil || r.Path != a.was.release.Path {
		a.was.liveSince = a.was.previousSince // of what is still warm
	}
	a.was.release = &a.from.plan.Release
	if was != nil {
		a.was.previous, a.was.previousSince = a.owner.journal.interrupted.before()
	}
	if was != nil && was.Kind != string(start) {
		a.kind = Kind(was.Kind)
	}
}

// replaceEnded starts those workers of a generation on standby that have ended while no daemon ran, so that
// it can be gone back to. Those that had to stop for their successors are started by a revert.
func (g *generation) replaceEnded() {
	for _, in := range g.instances {
		if in.w == nil && len(in.proc.Listen) > 0 && !g.held && !g.sharedGate(in.proc) {
			in.start()
		}
	}
}

// startWorkers starts the workers of the target that have ended while no daemon ran.
func (a adoption) startWorkers() {
	for _, in := range a.to.instances {
		if (len(in.proc.Listen) > 0 || a.kind == Restart) && !a.owner.demand.paused[in.proc.Name] {
			in.start()
		}
	}
}

// judge returns why the generation that an interrupted change went to has failed, as a probation
// would see it: a worker of it ended while no daemon ran.
func (a adoption) judge(was *ChangeStatus) error {
	if a.from == nil || !a.to.lost && (a.to.deaths == 0 || a.plan.Probation == 0 || !a.watched(was)) {
		return nil
	}
	return &failure{reason: cmp.Or(a.to.lastDeath, "its workers ended while no daemon was running")}
}

// watched reports whether an interrupted change had had its cutover, and not the end of its
// probation.
func (a adoption) watched(was *ChangeStatus) bool {
	return was != nil && (onProbation(was.Step) || was.Step == stepProve && a.from != nil && a.from.held)
}

// onProbation reports whether a change that is in a step may still be reverted, because its
// generation has not been live for long enough.
func onProbation(step string) bool {
	return slices.Contains([]string{stepCutover, stepFollow, stepSettle, stepProbation}, step)
}

// mayGoBack reports whether an interrupted change may still be reverted, or was being reverted.
func mayGoBack(was *ChangeStatus) bool {
	return was != nil && (onProbation(was.Step) || was.Step == stepRevert)
}

// cameFrom is the warm generation that an interrupted change came from, and that a revert goes back
// to; if the gates had turned back already, it is the one that had failed. Without one it is the warm
// generation that a rollback would go to, which is the youngest.
func (s *Supervisor) cameFrom() (from *generation) {
	was := s.journal.interrupted
	came := was.From
	if came == s.live.id {
		came = was.Target
	}
	for _, g := range s.generations {
		if g.state != Standby {
			continue
		}
		if was.Change != nil && g.id == came {
			return g
		}
		if from == nil || g.id > from.id {
			from = g
		}
	}
	return from
}

// finishRevert finishes a revert whose gates an earlier daemon had turned back.
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
	return fmt.Sprintf("generation %d serves on with %s", a.to.id, plain.Count(n, "worker", "workers")), err
}

// resume does what an interrupted change had still to do after its cutover.
func (a adoption) resume(was *ChangeStatus) error {
	if a.from == nil || !a.watched(was) { // without a way back a probation decides nothing
		if a.background().any(a.to) {
			return a.step(stepFollow, a.background().follow)
		}
		return nil
	}
	return a.follow()
}
