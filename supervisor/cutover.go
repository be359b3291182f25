package supervisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// cutover turns every gate, and with that makes the change one that only a revert can undo.
func (c *change) cutover(context.Context) (string, error) {
	err := c.s.verifyListeners(c.to)
	if err != nil && !c.warm {
		return "", err
	}
	var took time.Duration
	if stopped := c.s.do(func() { took, err = c.s.cutOver(c) }); stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", err
	}
	if err := c.s.verifyListeners(c.to); err != nil {
		c.warn("%v", err)
		_ = c.s.do(c.s.checkListeners) // for the status
	}
	c.turned = took
	c.point(c.plan.Release)
	return fmt.Sprintf("%.2f ms", float64(took.Microseconds())/1000), nil
}

// cutOver is the cutover as the owner does it.
func (s *Supervisor) cutOver(c *change) (time.Duration, error) {
	if cause := context.Cause(c.ctx); cause != nil {
		return 0, cause
	}
	if c.to.failure != nil {
		return 0, c.to.failure
	}
	began := time.Now()
	if err := s.turnGates(c.to, c.from); err != nil {
		return 0, err
	}
	took := time.Since(began)
	c.to.canary = nil
	if c.from != nil {
		s.transit(c.from, superseded)
		c.carry(c.from, c.to)
		for _, in := range c.from.instances {
			if c.from.sharedGate(in.proc) {
				s.unwant(in) // it accepts from the same queue as the new one for as long as it runs
			}
		}
	}
	s.transit(c.to, cutOver)
	s.commit(c)
	return took, nil
}

// commit makes the generation that a change goes to the live one, for good: from here on only a
// revert undoes the change.
func (s *Supervisor) commit(c *change) {
	c.committed = true
	if s.untold != nil && c.req.Kind != start {
		s.untold.Result, s.untold.Error = Done, ""
	}
	s.live = c.to
	s.becomeLive(c)
	s.release = &c.plan.Release
	if c.was.release != nil && c.was.release.Path != c.plan.Release.Path {
		s.previous = c.was.release
	}
	if err := s.save(); err != nil {
		c.warnings = append(c.warnings, "the cutover is not durable: "+err.Error())
	}
}

// carry hands the instances of processes that a restart does not touch from one generation to the
// other, which has none.
func (c *change) carry(from, to *generation) {
	if c.kind != Restart {
		return
	}
	restarted := make(map[string]bool)
	for _, in := range to.instances {
		restarted[in.proc.Name] = true
	}
	kept := from.instances[:0:0]
	for _, in := range from.instances {
		if restarted[in.proc.Name] {
			kept = append(kept, in)
			continue
		}
		in.gen = to
		to.instances = append(to.instances, in)
		for _, name := range in.proc.Listen {
			if from.staged[name] != 0 {
				to.staged[name] = from.staged[name]
			}
		}
	}
	from.instances = kept
	maps.DeleteFunc(from.staged, func(name string, _ int) bool {
		return !slices.ContainsFunc(kept, func(in *instance) bool { return slices.Contains(in.proc.Listen, name) })
	})
}

// point makes the `current` link follow; a link that cannot be moved does not undo what serves.
func (c *change) point(r Release) {
	if c.s.opt.Point == nil {
		return
	}
	if err := c.s.opt.Point(r); err != nil {
		c.warn("%v", err)
	}
}
