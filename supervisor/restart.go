package supervisor

import (
	"context"
	"fmt"
	"slices"
)

// restartsListener tells whether the process to restart has listeners on which nobody else would answer. Then it is restarted like a switch, with a
// generation of its own behind the gate, so that no request meets a worker that has not proved itself.
func (c *change) restartsListener() bool {
	if len(c.from.process(c.req.Process).Listen) == 0 {
		return false
	}
	others := false
	_ = c.s.do(func() {
		others = slices.ContainsFunc(c.from.of(c.req.Process), func(in *instance) bool {
			return c.req.Instance != nil && in.index != *c.req.Instance && in.state == InstanceReady
		})
	})
	return !others
}

// refuseRestart says why a process, or one of its instances, cannot be restarted.
func (s *Supervisor) refuseRestart(req Request) error {
	p, err := s.liveProcess(req.Process)
	switch {
	case err != nil:
		return err
	case s.paused[p.Name]:
		return fmt.Errorf("%s is paused; superctl resume %s starts it", p.Name, p.Name)
	case req.Instance != nil && (*req.Instance < 0 || *req.Instance >= s.wanted(p)):
		return fmt.Errorf("%s has no instance %d: the first is 0 and the last is %d", p.Name, *req.Instance, s.wanted(p)-1)
	}
	return nil
}

// restartInPlace restarts workers where they are, one after the other: those of a process without listeners, or one
// of several, beside which the others serve on.
func (c *change) restartInPlace(ctx context.Context) (string, error) {
	c.plan = c.from.plan
	var all []*instance
	if err := c.s.do(func() {
		c.to = c.from
		all = c.from.of(c.req.Process)
		if c.req.Instance != nil {
			all = slices.DeleteFunc(all, func(in *instance) bool { return in.index != *c.req.Instance })
		}
	}); err != nil {
		return "", err
	}
	for _, in := range all {
		one := func() []*instance { return []*instance{in} }
		c.emit(Event{Type: "progress", Step: stepRestart, Detail: in.String()})
		err := c.stopAll(ctx, one)
		if back := c.startAll(context.WithoutCancel(ctx), one); back != nil {
			return "", back
		}
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d workers", len(all)), nil
}
