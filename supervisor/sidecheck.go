package supervisor

import "context"

// sideCheck is the check of a plan (Plan.Check), which runs side by side with the boot of the
// plan's workers.
type sideCheck struct {
	done chan struct{}
	err  error // valid once done is closed
}

// startCheck starts the check of the plan. Its failure ends the change.
func (c *change) startCheck() {
	look := c.plan.Check
	if look == nil {
		return
	}
	c.plan.Check = nil // once a plan: a restart of what came of it needs none
	check := &sideCheck{done: make(chan struct{})}
	c.side = check
	c.owner.async(func() {
		defer close(check.done)
		if check.err = look(c.ctx); check.err != nil {
			c.cancel(check.err)
		}
	})
}

// checked waits for the end of the check, which ends with the change at the latest, and returns why
// the change may not go on.
func (c *change) checked() error {
	if c.side == nil {
		return nil
	}
	<-c.side.done
	if c.side.err != nil {
		return context.Cause(c.ctx)
	}
	return nil
}

// orUnchecked returns the failure of the check, if it has failed, and else err: a worker of a
// release with a broken interpreter fails too, and the check knows the reason.
func (c *change) orUnchecked(err error) error {
	if failed := c.checked(); failed != nil {
		return failed
	}
	return err
}
