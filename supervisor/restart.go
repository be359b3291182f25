package supervisor

import (
	"context"
	"fmt"
)

// restartsListener tells whether the process to restart has listeners. Then it is restarted like a switch, with a
// generation of its own behind the gate, so that no request meets a worker that has not proved itself.
func (c *change) restartsListener() bool {
	for i := range c.from.plan.Processes {
		if p := &c.from.plan.Processes[i]; p.Name == c.req.Process {
			return len(p.Listen) > 0
		}
	}
	return false
}

// restartInPlace restarts a process without listeners, one instance after the other.
func (c *change) restartInPlace(ctx context.Context) (string, error) {
	c.plan = c.from.plan
	var all []*instance
	if err := c.s.do(func() {
		c.to = c.from
		all = c.from.of(c.req.Process)
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
