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
	err := c.to.verifyListeners()
	if err != nil && !c.warm {
		return "", err
	}
	var took time.Duration
	if stopped := c.owner.do(func() { took, err = c.cutOver() }); stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", err
	}
	c.save().cutover()
	if err := c.to.verifyListeners(); err != nil {
		c.warn("%v", err)
		_ = c.owner.do(c.owner.listeners.check) // for the status
	}
	c.point(&c.plan)
	if ask(c.owner.core, func() bool { return c.owner.maintenance.on != nil }) { // no gate has turned
		if turnsOver(c.req.Kind) {
			c.warn("users still get the maintenance page: superctl maintenance off sends them to %s", c.plan.Release.Name)
		}
		return "behind the maintenance page", nil
	}
	if ask(c.owner.core, func() bool { return len(c.to.listeners()) == 0 }) {
		return "", nil // the app has no gate that could turn
	}
	c.turned = took
	return fmt.Sprintf("%.2f ms", float64(took.Microseconds())/1000), nil
}

// cutOver is the cutover as the owner does it.
func (c *change) cutOver() (time.Duration, error) {
	if cause := context.Cause(c.ctx); cause != nil {
		return 0, cause
	}
	if c.to.failure != nil {
		return 0, c.to.failure
	}
	began := time.Now()
	if err := c.owner.listeners.turnGates(c.to, c.from); err != nil {
		return 0, err
	}
	took := time.Since(began)
	c.to.canary = nil
	if c.from != nil {
		c.from.transit(superseded)
		c.carry(c.from, c.to)
		for _, in := range c.from.instances {
			if c.from.sharedGate(in.proc) {
				in.stop() // it accepts from the same queue as the new one for as long as it runs
			}
		}
	}
	c.to.transit(cutOver)
	c.commit()
	return took, nil
}

// commit makes the generation that a change goes to the live one, for good: from here on only a
// revert undoes the change.
func (c *change) commit() {
	c.committed = true
	if c.owner.owed != nil && c.req.Kind != start {
		c.owner.owed.Result, c.owner.owed.Error = Done, ""
	}
	c.owner.live = c.to
	c.becomeLive()
	release := c.plan.Release
	c.owner.release = &release
	// A start makes the release live that was live, and one that has moved is the same release.
	if c.req.Kind != start && c.was.release != nil && c.was.release.Name != c.plan.Release.Name {
		c.owner.previous = c.was.release
	}
	c.owner.journal.dirty = true
}

// carry hands the instances that a restart does not touch from one generation to the other: those of
// other processes, and those of the same process that serve from a listener of their own while one
// is replaced.
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
		if restarted[in.proc.Name] && (len(in.own) == 0 || to.instance(in.proc.Name, in.index) != nil) {
			kept = append(kept, in)
			continue
		}
		in.gen = to
		to.instances = append(to.instances, in)
		for _, name := range in.proc.Listen {
			if l := from.staged[name]; l.held() {
				to.staged[name] = l
			}
		}
	}
	from.instances = kept
	to.sortInstances()
	maps.DeleteFunc(from.staged, func(name string, _ listener) bool {
		return !slices.ContainsFunc(kept, func(in *instance) bool { return slices.Contains(in.proc.Listen, name) })
	})
}

// point makes the `current` link, the secrets of `superctl exec` and the static files follow; what cannot
// follow does not undo what serves.
func (c *change) point(plan *Plan) {
	if c.owner.opt.Point != nil {
		if err := c.owner.opt.Point(plan.Release); err != nil {
			c.warn("%v", err)
		}
	}
	if c.owner.opt.Values.Live != nil {
		if err := c.owner.opt.Values.Live(plan); err != nil {
			c.warn("%v", err)
		}
	}
	c.refresh(plan)
}
