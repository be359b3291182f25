package supervisor

import (
	"context"
	"errors"
	"fmt"

	"superctl/api"
)

// Attach follows the change in progress: it passes its events to emit, those of the past that a
// client must know first, and returns its outcome. Without a change in progress, it returns the
// outcome of the last one at once.
func (s *Supervisor) Attach(ctx context.Context, emit func(Event)) (*api.Attached, error) {
	var c *change
	var last *Outcome
	var events <-chan Event
	if stopped := s.do(func() {
		if last, c = s.last, s.change; c != nil {
			events = c.followers.join()
		}
	}); stopped != nil {
		return nil, &RefusedError{Err: stopped}
	}
	if c == nil {
		return &api.Attached{Outcome: last}, nil
	}
	defer c.followers.leave(events)
	for {
		select {
		case ev, more := <-events:
			if !more {
				<-c.done
				return &api.Attached{InProgress: true, Outcome: c.verdict}, nil
			}
			emit(ev)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Cancel cancels the change in progress, and returns what became of it when that is known. The error
// is a *RefusedError if the change cannot be canceled, because it has had its cutover for instance.
func (s *Supervisor) Cancel(ctx context.Context, req api.CancelRequest) (*api.Canceled, error) {
	if err := req.Validate(); err != nil {
		return nil, &RefusedError{Usage: true, Err: err}
	}
	var c *change
	if err := s.try(func() error {
		if c = s.change; c == nil {
			return nil
		}
		if err := c.canceling().refuse(); err != nil {
			return &RefusedError{Err: err}
		}
		c.cancel(&api.CanceledError{Who: req.By(req.Who), Why: req.Why})
		return nil
	}); err != nil {
		return nil, err
	}
	if c == nil {
		return &api.Canceled{}, nil
	}
	select {
	case <-c.done:
		return &api.Canceled{Canceled: c.outcome.Result != Done, Change: c.outcome}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// canceling is whether a change can be canceled.
type canceling struct{ *change }

func (c *change) canceling() canceling { return canceling{c} }

// refuse says why the change cannot be canceled.
func (cl canceling) refuse() error {
	switch now := cl.owner.changing(); {
	case cl.req.Kind == start:
		return fmt.Errorf("the daemon is starting %s, which cannot be canceled; superctl attach follows it", now.Release)
	case cl.req.Recycle:
		return errors.New("superctl is replacing a worker that has reached a limit, which cannot be canceled; " +
			"a change that you begin now waits for it")
	case cl.committed && cl.overtakable():
		return fmt.Errorf("the %s to %s cannot be canceled any more: it has had its cutover, and is now in step %s; "+
			"superctl rollback ends it and goes back", now.Kind, now.Release, now.Step)
	case cl.committed:
		return fmt.Errorf("the %s to %s cannot be canceled any more: it has had its cutover, and is now in step %s; "+
			"superctl attach follows it", now.Kind, now.Release, now.Step)
	}
	return nil
}

// clientEnded is called when the request of the client that began the change ends before the change
// does, with the cause. After the cutover nothing ends it.
func (cl canceling) clientEnded(cause error) {
	var canceled *api.CanceledError
	switch {
	case cl.committed:
	case errors.As(cause, &canceled):
		cl.cancel(canceled)
	case errors.Is(cause, api.ErrClientGone) && cl.req.Prepare == 0: // it can be followed and canceled from elsewhere
	case !cl.req.Detach:
		cl.cancel(errHungUp)
	}
}
