package supervisor

import "context"

// Inspection is what Options.Inspect is to look at.
type Inspection struct {
	Kind   Kind
	Plan   Plan
	Before bool // the plan's `before` hooks will run
	// LeftOut is the `before` hooks that will not, because the leader of the run runs them
	LeftOut [][]string
	Live    *Plan // nil when no release is live
	Force   bool  // objections are to be told, and not to stop it
}

// inspect has the plan looked at, also that of a generation that is still warm. A change that goes
// back by itself, because it has failed, is not inspected: that must always work.
func (c *change) inspect() error {
	if c.owner.opt.Inspect == nil || len(c.plan.Inspect) == 0 || (c.kind != Switch && c.kind != Rollback) {
		return nil
	}
	if c.takesBack() {
		c.warn("the migrations were not checked: run %s reverts what it made live", c.req.Run)
		return nil
	}
	i := Inspection{Kind: c.kind, Plan: c.plan, Before: c.hooks().runsBefore(), Force: c.req.Force}
	for _, at := range c.plan.Hooks.Once[stepBefore] {
		if c.req.Follower && i.Kind == Switch {
			i.LeftOut = append(i.LeftOut, c.plan.Hooks.Before[at])
		}
	}
	if c.from != nil {
		i.Live = &c.from.plan
	}
	return c.step(stepInspect, func(ctx context.Context) (string, error) {
		t := newTranscript(stepInspect, c.emit, c.clean)
		defer func() { c.output = t.end() }()
		return c.owner.opt.Inspect(ctx, i, t.add)
	})
}
