package supervisor

import "context"

// sideCheck is the check of a plan (Plan.Check), which runs side by side with the boot of the
// plan's workers.
type sideCheck struct {
	done chan struct{}
	err  error // valid once done is closed
}

// checkRun runs the side check of a change.
type checkRun struct{ *change }

func (c *change) checking() checkRun { return checkRun{c} }

// start starts the check of the plan. Its failure ends the change.
func (ch checkRun) start() {
	look := ch.plan.Check
	if look == nil {
		return
	}
	ch.plan.Check = nil // once a plan: a restart of what came of it needs none
	check := &sideCheck{done: make(chan struct{})}
	ch.side = check
	ch.owner.async(func() {
		defer close(check.done)
		if check.err = look(ch.ctx); check.err != nil {
			ch.cancel(check.err)
		}
	})
}

// wait waits for the end of the check, which ends with the change at the latest, and returns why
// the change may not go on.
func (ch checkRun) wait() error {
	if ch.side == nil {
		return nil
	}
	<-ch.side.done
	if ch.side.err != nil {
		return context.Cause(ch.ctx)
	}
	return nil
}

// orFailed returns the failure of the check, if it has failed, and else err: a worker of a
// release with a broken interpreter fails too, and the check knows the reason.
func (ch checkRun) orFailed(err error) error {
	if failed := ch.wait(); failed != nil {
		return failed
	}
	return err
}
