package supervisor

import (
	"fmt"
	"slices"

	"go.uber.org/zap"
)

// standIn has workers of the live release serve the connections that are queued for a listener
// whose own workers are gone, and reports whether it does. Such a queue is left when a worker ends
// while no daemon runs, or between the last look at the queue and its end. No new connection comes
// to it, so the workers of the stand-in finish as soon as the queue is empty.
//
// While connections are held nothing may overlap what the hold waits for, so there is no
// stand-in then; and none for a stand-in, whose workers have had their chance.
func (ls *listenerSet) standIn(l listener) bool {
	live, name := ls.owner.live, l.gate.Name()
	if live == nil || live.held || ls.owner.stopping || ls.owner.leaving ||
		live.gates[name] != l.gate || slices.Contains(ls.aimed[name], l) || len(live.listeners()[name]) == 0 {
		return false // new connections may still come to it
	}
	i := slices.IndexFunc(live.instances, func(in *instance) bool { return slices.Contains(in.proc.Listen, name) })
	if i < 0 {
		return false
	}
	g := ls.owner.newGeneration(live.plan, live.gates, live.instances[i].proc.Name)
	g.standsIn, g.state, g.tried = true, Staged, true    // clients are with it already
	g.instances = g.instances[:min(1, len(g.instances))] // none, if the process was scaled to 0
	g.staged[name] = l
	if err := g.openListeners(); err != nil {
		ls.log.Error("open the listeners of a stand-in", zap.Int("generation", g.id), zap.Error(err))
		delete(g.staged, name)
		g.retire()
		return false
	}
	ls.log.Warn("connections are queued for workers that are gone; a worker of the live release serves them",
		zap.String("listener", name), zap.Int("generation", g.id))
	ls.async(func() {
		if err := ls.owner.journal.durable(); err != nil {
			ls.log.Warn("the state file does not know a stand-in", zap.Int("generation", g.id), zap.Error(err))
		}
		ls.enter(fmt.Sprintf("g%d", g.id))
		if ls.do(g.wantListening) == nil {
			g.withdrawAdopted()
		}
	})
	return true
}

// queued is how many connections would be reset if a listener were closed now; 0 when that cannot
// be told.
func (l listener) queued() int {
	n, _, err := l.queue()
	if err != nil || l.shared() {
		return 0
	}
	return n
}
