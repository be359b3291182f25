package supervisor

import "context"

// prepareRelease is what happens in and around the new release before its workers start. Its hooks
// may make the static files that are published.
func (c *change) prepareRelease() error { return oneByOne(c.hooks().before, c.publish) }

// publish adds the static files of the new release to those of the others, before any page can name
// them. A generation that is still warm has published its own.
func (c *change) publish() error {
	if c.owner.opt.Publish == nil || len(c.plan.Assets) == 0 || c.warm || c.kind == Restart {
		return nil
	}
	return c.step(stepPublish, func(ctx context.Context) (string, error) { return c.owner.opt.Publish(ctx, c.plan) })
}

// refresh gives the static files that several releases have by the same name the content of the live
// one. Users are served already, so that a failure is only told, and Options.Refresh tries again.
func (c *change) refresh(plan *Plan) {
	if c.owner.opt.Refresh == nil || len(plan.Assets) == 0 {
		return
	}
	if err := c.owner.opt.Refresh(*plan); err != nil {
		c.warn("%v; it is tried again", err)
	}
}
