package supervisor

import "context"

// share links what outlives a release into the one that the change goes to, before anything of it
// is begun. A generation that is still warm has its links; and a daemon that starts has a site to
// bring up, so that what cannot be linked is only said.
func (c *change) share() error {
	if c.owner.opt.Share == nil || len(c.plan.Shared) == 0 || c.warm || c.kind == Restart {
		return nil
	}
	inUse := false
	if err := c.owner.do(func() {
		for _, g := range c.owner.generations {
			inUse = inUse || g.plan.Release.Path == c.plan.Release.Path
		}
	}); err != nil {
		return err
	}
	err := c.step(stepShare, func(context.Context) (string, error) { return c.owner.opt.Share(c.plan, inUse) })
	if err != nil && c.kind == start && c.ctx.Err() == nil {
		c.warn("%v; the release is started nevertheless", err)
		return nil
	}
	return err
}
