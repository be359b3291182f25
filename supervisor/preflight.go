package supervisor

import (
	"context"
	"fmt"
	"slices"
)

// preflight proves the release on private sockets before it is started on one that all generations
// share: there, a new worker takes real requests from its first moment (DESIGN 4).
func (c *change) preflight(ctx context.Context) (string, error) {
	return c.tryPrivately(ctx, func(g *generation) []*instance {
		if !c.plan.rolls() {
			return g.instances
		}
		// there may be room for no more
		return slices.DeleteFunc(g.instances, func(in *instance) bool { return in.index > 0 })
	})
}

// tryPrivately proves instances of a generation that is made for that alone, behind private gates,
// and ends them again.
func (c *change) tryPrivately(ctx context.Context, of func(*generation) []*instance) (string, error) {
	gates := make(map[string]Gate)
	for _, name := range c.plan.listeners() {
		gate := c.gates()[name]
		if gate == nil {
			return "", newListenerError(name)
		}
		private, err := gate.Private()
		if err != nil {
			return "", fmt.Errorf("private listener for %q: %w", name, err)
		}
		gates[name] = private
	}
	var g *generation
	var err error
	if stopped := c.s.do(func() {
		g = c.s.newGeneration(c.plan, gates, "")
		g.private = true
		g.instances = of(g)
		err = c.s.stage(g)
	}); stopped != nil {
		return "", stopped
	}
	if err == nil {
		_, err = c.prove(ctx, g)
	}
	if stopped := c.s.do(func() {
		if g.failure == nil {
			g.failure = &failure{reason: "the preflight is over"} // it never had a request, so it need not drain
		}
		c.s.retire(g)
	}); stopped != nil {
		return "", stopped
	}
	<-g.done
	return "healthy on a private socket", err
}
