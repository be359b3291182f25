package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// restartsListener reports whether all of a process with listeners is to be restarted. That is done
// like a switch, with a generation of its own behind the gate, so that no request meets a worker
// that has not proved itself.
func (c *change) restartsListener() bool {
	p := c.from.process(c.req.Process)
	only := ask(c.owner.core, func() bool { return c.owner.demand.wanted(p) == 1 })
	return len(p.Listen) > 0 && (only || c.req.Instance == nil || c.req.Recycle)
}

// refuseRestart says why a process, or one of its instances, cannot be restarted.
func (ad *admission) refuseRestart(req Request) error {
	p, err := ad.liveProcess(req.Process)
	switch {
	case err != nil:
		return err
	case ad.owner.demand.paused[p.Name]:
		return fmt.Errorf("%s is paused; superctl resume %s starts it", p.Name, p.Name)
	case req.Instance != nil && (*req.Instance < 0 || *req.Instance >= ad.owner.demand.wanted(p)):
		return fmt.Errorf(
			"%s has no instance %d: the first is 0 and the last is %d", p.Name, *req.Instance,
			ad.owner.demand.wanted(p)-1,
		)
	case req.Instance != nil && len(p.Listen) > 0 && ad.owner.demand.wanted(p) > 1 && !ad.owner.live.apart(p.Name):
		return fmt.Errorf("the instances of %[1]s accept from one listener, so one alone cannot be stopped without losing requests: superctl restart %[1]s "+
			`replaces all of them and loses none; with strategy = "rolling" each has a listener of its own`, p.Name)
	}
	return nil
}

// restartInPlace restarts workers where they are, one after the other: those of a process without
// listeners, or one of several that has a listener of its own, while the others serve on.
func (c *change) restartInPlace(ctx context.Context) (string, error) {
	c.plan = c.from.plan
	if err := c.owner.startable(c.plan.Release); err != nil {
		return "", err
	}
	var all []*instance
	if err := c.owner.do(func() {
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
		err := c.roll().stopBatch(ctx, one())
		if back := c.scaling().startHere(context.WithoutCancel(ctx), one()); back != nil {
			return "", back
		}
		if err != nil {
			return "", err
		}
	}
	names := make([]string, len(all))
	for i, in := range all {
		names[i] = in.String()
	}
	return strings.Join(names, ", "), nil
}
