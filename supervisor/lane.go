package supervisor

import (
	"slices"

	"go.uber.org/zap"
)

// laneBits leaves room for the number of an instance next to that of its generation: no process has
// so many instances, and no generation is numbered so high.
const laneBits = 20

// lane is the number under which a gate knows the listener of one instance, where each has its own.
func lane(gen, index int) int { return gen<<laneBits | (index + 1) }

// laned reports whether each instance of the process gets a listener of its own: those that are
// replaced a few at a time do, where the gate can spread connections over them. Then one that has
// not proved itself gets none, and one that is about to stop gets no more, while its neighbours
// serve.
func (g *generation) laned(p *Process) bool {
	return p.Strategy == Rolling && !g.held && len(p.Listen) > 0 &&
		!slices.ContainsFunc(p.Listen, func(name string) bool {
			return !steers(g.gates[name])
		})
}

// apart reports whether each instance of a process has a listener of its own.
func (g *generation) apart(process string) bool {
	return !slices.ContainsFunc(g.of(process), func(in *instance) bool { return len(in.own) == 0 })
}

// closeOwn gives up the listeners that are an instance's alone, when its worker is gone. A daemon
// that is killed loses those that no worker has, and which places the others have then is known
// only after the loss of one (see adoptListeners).
func (in *instance) closeOwn() {
	for _, l := range ordered(in.own) {
		in.gen.close(l)
	}
	in.own = nil
	in.owner.journal.dirty = true
}

// listener is the one of that name from which an instance accepts; one that is not held = this
// daemon has none.
func (in *instance) listener(name string) listener {
	if l := in.own[name]; l.held() {
		return l
	}
	if l := in.gen.staged[name]; l.held() {
		return l
	}
	if gate := in.gen.gates[name]; gate != nil {
		return listener{gate: gate}
	}
	return listener{gate: lostGate(name)}
}

// lane names those who accept from the same listener: one of them answers for all. Without
// listeners each answers for itself.
func (in *instance) lane() string {
	if len(in.own) > 0 || len(in.proc.Listen) == 0 {
		return in.String()
	}
	return in.proc.Name
}

// listeners are all listeners of the generation, by name and in order.
func (g *generation) listeners() map[string][]listener {
	all := make(map[string][]listener)
	for name, l := range g.staged {
		all[name] = append(all[name], l)
	}
	for _, in := range g.instances {
		for name, l := range in.own {
			all[name] = append(all[name], l)
		}
	}
	for _, list := range all {
		slices.SortFunc(list, listener.compare)
	}
	return all
}

// uses reports whether workers of the generation accept from a listener.
func (g *generation) uses(l listener) bool {
	return slices.Contains(g.listeners()[l.gate.Name()], l)
}

// serving are the listeners of that name whose instances serve; all, when none does: there
// connections wait.
func (g *generation) serving(name string) []listener {
	if ready := lanesOf(g.instances)[name]; len(ready) > 0 {
		return ready
	}
	return g.listeners()[name]
}

// serves reports whether the instance has a worker that is ready.
func (in *instance) serves() bool { return in.state == InstanceReady && !in.dead }

// lanesOf are the listeners of those instances that have one of their own and serve.
func lanesOf(list []*instance) map[string][]listener {
	return lanesWhere(list, func(in *instance) bool { return in.serves() && in.wanted && !in.leaving })
}

// lingeringLanes are those of proved instances that keep their connections: they accept until they
// get their stop signal.
func lingeringLanes(list []*instance) map[string][]listener {
	return lanesWhere(list, func(in *instance) bool { return in.lingers != nil && in.proved() })
}

func lanesWhere(list []*instance, match func(*instance) bool) map[string][]listener {
	lanes := make(map[string][]listener)
	for _, in := range list {
		if !match(in) {
			continue
		}
		for name, l := range in.own {
			lanes[name] = append(lanes[name], l)
		}
	}
	for _, list := range lanes {
		slices.SortFunc(list, listener.compare)
	}
	return lanes
}

// aim spreads new connections over the instances that serve, where each has a listener of its own:
// one that has died gets none until it is back. Where none serves, those that linger do. It
// compares, so a lost event does no harm.
func (ls *listenerSet) aim() {
	if ls.owner.live == nil {
		return
	}
	list := ls.owner.live.instances
	if ls.owner.rolling != nil {
		list = slices.Concat(list, ls.owner.rolling.instances)
	}
	lanes := lanesOf(list)
	for name, lingering := range lingeringLanes(list) {
		if len(lanes[name]) == 0 {
			lanes[name] = lingering
		}
	}
	for name, serving := range ordered(lanes) {
		if slices.Equal(serving, ls.aimed[name]) {
			continue
		}
		numbers := numbersOf(serving)
		ls.owner.store.sync() // a new listener is not in it yet while the state file cannot be written
		if err := ls.owner.live.gates[name].Spread(numbers); err != nil {
			ls.log.Error(
				"spread connections", zap.String("listener", name), zap.Ints("numbers", numbers), zap.Error(err),
			)
			continue
		}
		ls.aimed[name] = serving
		ls.wasSet(ls.owner.live.gates[name])
		ls.owner.journal.dirty = true
	}
	ls.noteDirected()
}

// noteDirected notes that the gates lead to an adopted live generation after all, if they had refused
// that when it was adopted.
func (ls *listenerSet) noteDirected() {
	live := ls.owner.live
	if !live.unroutable || live.lacks() != "" {
		return
	}
	for name := range live.listeners() {
		if len(ls.aimed[name]) == 0 {
			return
		}
	}
	live.unroutable = false
}
