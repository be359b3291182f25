package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// revertedError is a failure after the cutover: the old generation is live again.
type revertedError struct{ err error }

func (e *revertedError) Error() string { return e.err.Error() }
func (e *revertedError) Unwrap() error { return e.err }

// abandon undoes a change that fails before its cutover: what was staged is stopped, nothing else
// has changed.
func (c *change) abandon(cause error) error {
	if c.to == nil || c.warm {
		return cause
	}
	if c.tried() {
		return c.abandonCanary(cause)
	}
	_ = c.s.do(func() {
		if c.to.failure == nil {
			c.to.failure = &failure{reason: cause.Error()}
		}
	})
	if err := c.stopStaged(); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// stopStaged stops what was staged, and waits for its end.
func (c *change) stopStaged() error {
	if err := c.s.do(func() { c.s.retire(c.to) }); err != nil {
		return err
	}
	select {
	case <-c.to.done:
	case <-c.s.done:
	}
	return nil
}

// revert turns everything back to the generation that was live before.
func (c *change) revert(cause error) error {
	c.emit(Event{Type: "progress", Step: stepRevert, Detail: cause.Error()})
	if errors.Is(cause, ErrStopping) {
		return cause
	}
	_ = c.s.do(func() {
		c.to.takenBack = true
		if c.s.untold != nil {
			c.s.untold.Result, c.s.untold.Error = Reverted, cause.Error()
		}
	})
	if err := c.step(stepRevert, c.turnBack); err != nil {
		c.warn("the revert is not complete: %v", err)
	}
	return &revertedError{cause}
}

// turnBack does not listen to the change's ctx: a rollback that overtook the probation has ended
// it, and going back must not be left half done.
func (c *change) turnBack(context.Context) (string, error) {
	if stopping, err := c.leaveBack(); stopping {
		return "", err
	}
	switch {
	case c.from == nil || !c.from.held:
	case c.plan.hold() > 0:
		return c.turnBackHeld()
	default:
		return c.turnBackRolled()
	}
	var err error
	if stopped := c.s.do(func() { err = c.s.turnBack(c) }); stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", err
	}
	if c.from == nil {
		return "nothing was live before, so nothing is now", nil
	}
	return c.goBack(c.to, c.from)
}

// leaveBack is a revert while the daemon stops: no worker is started any more, and the next daemon
// starts the release that was live before.
func (c *change) leaveBack() (stopping bool, err error) {
	stopped := c.s.do(func() {
		if stopping = c.s.stopping; !stopping {
			return
		}
		c.s.takeBack(c)
		c.s.retire(c.to)
		err = c.s.save()
	})
	if stopping && c.from != nil {
		c.point(c.from.plan.Release)
	}
	return stopping || stopped != nil, errors.Join(ErrStopping, err)
}

// goBack is what follows when the gates have turned back from one generation to another. Whatever
// of it has been done already, by an earlier daemon, can be done again.
func (c *change) goBack(failed, back *generation) (string, error) {
	c.point(back.plan.Release)
	ctx, cancel := context.WithTimeout(context.Background(), c.undoLimit())
	defer cancel()
	var incomplete error
	if c.kind != Restart {
		// What the new release had no name for must stop too, and `single` processes never run
		// twice.
		background := func() []*instance { return withoutListeners(failed) }
		if err := c.stopAll(ctx, background); err != nil {
			return "", fmt.Errorf("stop the background processes of %s: %w", failed.plan.Release.Name, err)
		}
		incomplete = c.backgroundAgain(ctx, back)
	}
	if _, err := c.settle(ctx, failed); err != nil {
		return "", err
	}
	if err := c.s.do(func() { c.s.retire(failed) }); err != nil {
		return "", err
	}
	if incomplete != nil {
		return "", incomplete
	}
	return fmt.Sprintf("%s (generation %d) is live again", back.plan.Release.Name, back.id), nil
}

// backgroundAgain starts the background processes of the generation that is live again. What the
// error tells of is started again until it works.
func (c *change) backgroundAgain(ctx context.Context, back *generation) error {
	if _, err := c.serveBackground(ctx, back); err != nil {
		return fmt.Errorf("start the background processes of %s again: %w", back.plan.Release.Name, err)
	}
	return nil
}

// turnBack is the gates' and the durable part of a revert, as the owner does it.
func (s *Supervisor) turnBack(c *change) error {
	if c.from == nil {
		s.takeBack(c)
		s.retire(c.to)
		return s.save()
	}
	if err := s.turnGates(c.from, c.to); err != nil {
		return err
	}
	s.takeBack(c)
	c.carry(c.to, c.from)
	s.transit(c.to, superseded)
	s.transit(c.from, cutOver)
	s.live = c.from
	s.checkListeners()
	for _, in := range c.from.instances {
		if len(in.proc.Listen) > 0 {
			s.want(in) // a shared gate's had to stop at the cutover
		}
	}
	_ = s.save() // it says so itself, and is tried again: what is left to do does not wait for it
	return nil
}

// undoLimit bounds the wait for processes in a revert: all drains and starts that it may meet.
func (c *change) undoLimit() time.Duration {
	limit := c.plan.Settle
	plans := []Plan{c.plan}
	if c.from != nil {
		plans = append(plans, c.from.plan)
	}
	for _, plan := range plans {
		for i := range plan.Processes {
			if p := &plan.Processes[i]; len(p.Listen) == 0 || c.plan.hold() > 0 || c.plan.rolls() {
				rounds := 1
				if p.Strategy == Rolling {
					rounds = max(1, p.Instances, c.s.scaled(p.Name))
				}
				for range rounds {
					limit += max(p.DrainConnections, p.HookWait) + p.Drain + p.StartTimeout + plan.Settle
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
