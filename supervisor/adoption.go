package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

var errRevertInterrupted = errors.New("its revert was interrupted by the end of the daemon")

// performAdoption goes on with a live generation that was adopted, and finishes or undoes the
// change that the end of the last daemon has interrupted.
func (c *change) performAdoption() error {
	was, target := c.s.interrupted.Change, c.s.interrupted.Target
	half := c.s.rolling
	_ = c.s.do(func() { c.takeUp(was, half) })
	if err := c.step(stepAdopt, c.adopted); err != nil {
		return err
	}
	if was != nil {
		c.point(c.plan.Release) // the last daemon may have ended before it did
	}
	if half != nil {
		if err := c.finishHalf(half); err != nil {
			return err
		}
	}
	if err := c.fit(c.to); err != nil {
		return err
	}
	if was != nil && was.Step == stepRevert && c.from != nil {
		if target != c.to.id { // the gates had turned back
			return c.finishRevert()
		}
		return c.revert(errRevertInterrupted)
	}
	if err := c.resume(was); err != nil {
		if c.from == nil || errors.Is(err, ErrStopping) {
			return err
		}
		return c.revert(err)
	}
	if err := c.letGo(); err != nil {
		return err
	}
	if owesAfter(was) && target == c.to.id {
		c.afterHooks()
	}
	return nil
}

// takeUp makes the change what the adopted generations tell: the live one is its target, and one
// that is still warm is where it came from. Of half a roll nobody is started yet: the instances
// take turns with those that serve in their place.
func (c *change) takeUp(was *ChangeStatus, half *generation) {
	c.to, c.from, c.plan = c.s.live, nil, c.s.live.plan
	c.release, c.committed = c.plan.Release, true
	c.from = c.s.cameFrom()
	for _, g := range ordered(c.s.generations) {
		c.s.awaitReady(g)
		if g.state == Standby && g != c.from { // the timer of the last daemon has ended with it
			c.s.keepWarm(g, max(0, c.plan.Standby-time.Since(g.since)))
		}
	}
	c.kind = Switch // how a generation that is still warm came about
	if c.from != nil {
		if r := &c.from.plan.Release; c.was.release == nil || r.Path != c.was.release.Path {
			c.was.liveSince = c.was.previousSince // of what is still warm
		}
		c.was.release = &c.from.plan.Release
		if was != nil && was.Kind != string(start) {
			c.kind = Kind(was.Kind)
		}
	}
	if half != nil {
		return
	}
	for _, in := range c.to.instances {
		if c.to.laned(in.proc) && in.w == nil {
			if err := c.s.open(in); err != nil {
				c.s.log.Error("open listener", append(c.s.fields(in), zap.Error(err))...)
			}
		}
		if (len(in.proc.Listen) > 0 || c.kind == Restart) && !c.s.paused[in.proc.Name] {
			c.s.want(in)
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
		if s.interrupted.Change != nil && g.id == s.interrupted.From {
			return g
		}
		if from == nil || g.id > from.id {
			from = g
		}
	}
	return from
}

// finishRevert does what is left of a revert whose gates an earlier daemon had turned back.
func (c *change) finishRevert() error {
	_ = c.s.do(func() { c.from.takenBack = true })
	if err := c.step(stepRevert, func(context.Context) (string, error) { return c.goBack(c.from, c.to) }); err != nil {
		return err
	}
	c.plan = c.from.plan
	c.lateHooks(stepOnRevert, c.plan.Hooks.OnRevert, Reverted, errRevertInterrupted)
	return nil
}

func (c *change) adopted(context.Context) (string, error) {
	n := 0
	err := c.s.do(func() {
		for _, in := range c.to.instances {
			if in.w != nil {
				n++
			}
		}
	})
	return fmt.Sprintf("%d workers of generation %d serve on", n, c.to.id), err
}

// resume does what an interrupted change had still to do after its cutover.
func (c *change) resume(was *ChangeStatus) error {
	after := []string{stepCutover, stepFollow, stepSettle, stepProbation}
	if c.from != nil && c.from.held {
		after = append(after, stepProve)
	}
	if was == nil || !slices.Contains(after, was.Step) {
		if c.background(c.to) {
			return c.step(stepFollow, c.startBackground)
		}
		return nil
	}
	return c.follow()
}
