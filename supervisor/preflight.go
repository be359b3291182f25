package supervisor

import (
	"context"
	"fmt"
	"slices"
)

// privateTrial proves a release on private listeners.
type privateTrial struct{ *change }

func (c *change) trial() privateTrial { return privateTrial{c} }

// preflight proves the release on private sockets before it is started on one that all generations
// share: there, a new worker takes real requests from its first moment (DESIGN 4).
func (p privateTrial) preflight(ctx context.Context) (string, error) {
	return p.proveOnly(ctx, func(g *generation) []*instance {
		if !p.plan.rolls() {
			return g.instances
		}
		// there may be room for no more
		return slices.DeleteFunc(g.instances, func(in *instance) bool { return in.index > 0 })
	})
}

// proveOnly proves instances of a generation that is made for that alone, behind private gates,
// and ends them again.
func (p privateTrial) proveOnly(ctx context.Context, of func(*generation) []*instance) (string, error) {
	gates := make(map[string]Gate)
	for _, name := range p.plan.listeners() {
		gate := p.gates()[name]
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
	err := p.owner.try(func() error {
		g = p.owner.newGeneration(p.plan, gates, "")
		g.private = true
		g.instances = of(g)
		return g.openListeners()
	})
	if g == nil {
		return "", err
	}
	if err == nil {
		err = p.stageWorkers(g)
	}
	if err == nil {
		_, err = p.prove(ctx, g)
	}
	if stopped := p.owner.do(func() {
		if g.failure == nil {
			g.failure = &failure{reason: "the preflight is over"} // it never had a request, so it need not drain
		}
		g.retire()
	}); stopped != nil {
		return "", stopped
	}
	<-g.done
	return "healthy on a private socket", err
}
