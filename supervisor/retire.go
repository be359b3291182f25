package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"superctl/plain"
)

// retire lets the old generation go, or keeps it warm.
func (c *change) retire(context.Context) (string, error) {
	detail := "nothing was live before"
	var overtaken *overtakenError
	err := c.owner.do(func() {
		if errors.As(context.Cause(c.ctx), &overtaken) {
			return // after the end of the probation, but before this
		}
		if !c.req.Recycle { // it leaves the way back to the release before as it is
			c.owner.retireWarm(c.from)
		}
		if c.from == nil {
			return
		}
		detail = fmt.Sprintf("generation %d drains", c.from.id)
		switch {
		case c.staysWarm():
			warm := c.plan.Standby
			if c.req.Kind == start {
				warm = max(0, warm-time.Since(c.from.since)) // it has been warm under an earlier daemon
			}
			detail = fmt.Sprintf("generation %d stays warm for %s", c.from.id, plain.Duration(warm))
			c.from.keepWarm(warm)
		case c.owner.listeners.keepsPart(c.from):
			c.warn("generation %d is kept: %v", c.from.id, errStillReached)
			detail = fmt.Sprintf("generation %d is kept until its connections end", c.from.id)
			c.from.retireUnreached()
		default:
			c.from.retire()
		}
	})
	if overtaken != nil {
		return "", overtaken
	}
	return detail, err
}

// retireWarm retires all generations on standby but one.
func (s *Supervisor) retireWarm(kept *generation) {
	for _, g := range ordered(s.generations) {
		switch {
		case g.state != Standby || g == kept:
		case s.listeners.keepsPart(g):
			g.retireUnreached()
		default:
			g.retire()
		}
	}
}

// retireOld is the step at which the old generation goes, or stays warm. A rollback that has come
// until then still goes back to it, and a state file that cannot be written keeps it.
func (c *change) retireOld() error {
	err := c.step(stepRetire, c.retire)
	var overtaken *overtakenError
	switch {
	case errors.As(err, &overtaken):
		return c.undo().revert(overtaken)
	case err != nil && !errors.Is(err, ErrStopping):
		c.warn("the generation before is kept until that has ended: %v", err)
		return c.owner.do(c.keepUntilSaved)
	}
	return err
}

// keepUntilSaved keeps the old generation until the state file says that it is not needed any more.
func (c *change) keepUntilSaved() {
	if c.from == nil || c.from.state != Standby {
		return
	}
	warm := time.Duration(0)
	if c.staysWarm() {
		warm = c.plan.Standby
	}
	c.from.keepWarm(warm)
}

// staysWarm reports whether the old generation is kept for a rollback. Its listener stays open
// then, so that nothing that is queued for it can get lost, and no caller waits for it.
func (c *change) staysWarm() bool {
	return c.from != nil && !c.from.held && c.plan.Standby > 0 && (c.kind == Switch || c.kind == Rollback) &&
		!c.shared()
}

// keepWarm keeps the workers that have listeners, for an instant rollback, and ends the others.
func (g *generation) keepWarm(d time.Duration) {
	for _, in := range g.instances {
		if len(in.proc.Listen) == 0 {
			in.stop()
		}
	}
	since := g.since
	g.owner.async(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			g.retireAtRest(since)
		case <-g.done:
		case <-g.owner.done:
		}
	})
}

// retireAtRest retires a generation that has been on standby since then, when no change is in
// progress, which may be about to go back to it, and the state file is not behind: the next daemon
// would look for it.
func (g *generation) retireAtRest(since time.Time) {
	_ = g.owner.await(context.Background(), func() (bool, error) { // it ends with the daemon at the latest
		switch {
		case g.state != Standby || !g.since.Equal(since):
			return true, nil
		case g.owner.change != nil || g.owner.journal.behind() || g.owner.listeners.keepsPart(g):
			return false, nil
		}
		g.retire()
		return true, nil
	})
	_ = g.owner.do(nothing) // a turn, for a generation whose workers are all gone already
}
