package supervisor

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// remnant is a part of the new connections that a listener still gets after the end of a canary or
// of a comparison, because its gate could not be set. It is a trouble in the status, and the gate is
// set again and again until that works. The listener's generation is not retired before: connections
// would be sent to workers that stop. The next daemon sets all gates when it starts, so the state
// file does not have it.
type remnant struct {
	of      *generation
	tries   int
	waiting bool // for the next try
}

// endPart takes a listener's part of the new connections away from it.
func (ls *listenerSet) endPart(l listener, of *generation) {
	err := ls.takePart(l)
	if err == nil {
		ls.wasSet(l.gate)
		return
	}
	if ls.remnants[l] == nil {
		ls.remnants[l] = &remnant{of: of}
	}
	r := ls.remnants[l]
	ls.log.Error("a generation keeps a part of the connections", zap.String("listener", l.gate.Name()),
		zap.Int("generation", of.id), zap.Error(err))
	ls.owner.health.report(Trouble{
		Of: partTrouble(l.gate), Health: HealthDegraded,
		Why: fmt.Sprintf("listener %q: %s (generation %d) still gets new connections, because the listener's gate cannot be set: %v; superctl tries again",
			l.gate.Name(), of.plan.Release.Name, of.id, err),
	})
	if r.waiting {
		return
	}
	r.waiting = true
	r.tries++
	ls.postAfter(ls.backoff(r.tries), func() {
		if r.waiting = false; ls.remnants[l] == r {
			ls.endPart(l, of)
		}
	})
}

// suspectParts takes away what an earlier daemon may have given to other generations than the adopted
// live one, whose gate has refused to lead to it alone.
func (ls *listenerSet) suspectParts(name string, live *generation) {
	for _, g := range ordered(ls.owner.generations) {
		if g == live || g == ls.owner.rolling {
			continue
		}
		for _, l := range g.listeners()[name] {
			if l.gate == live.gates[name] && !l.shared() && !live.uses(l) {
				ls.endPart(l, g)
			}
		}
	}
}

func partTrouble(gate Gate) string { return "connections of listener " + gate.Name() }

// takePart sets the gate of a listener so that it gets no new connection.
func (ls *listenerSet) takePart(l listener) error {
	live, name := ls.owner.live, l.gate.Name()
	switch {
	case live != nil && live.unroutable && live.gates[name] == l.gate && len(live.serving(name)) > 0:
		return ls.lead(live, name)
	case l.gate.Live() != l.number && l.steered():
		return l.canary(0, nil)
	case l.gate.Live() != l.number, live == nil, live.gates[name] != l.gate, len(live.serving(name)) == 0:
		return nil // the gate was turned meanwhile, or there is nothing to turn it to
	}
	return l.gate.Spread(numbersOf(live.serving(name)))
}

// lead has a gate lead to an adopted live generation after all.
func (ls *listenerSet) lead(live *generation, name string) error {
	serving := live.serving(name)
	if err := live.gates[name].Spread(numbersOf(serving)); err != nil {
		return err
	}
	ls.aimed[name] = serving
	ls.noteDirected()
	return nil
}

// forget gives up the remnants of a generation whose listeners are closed.
func (ls *listenerSet) forget(g *generation) {
	for l, r := range ls.remnants {
		if r.of == g {
			delete(ls.remnants, l)
			ls.owner.health.report(Trouble{Of: partTrouble(l.gate)})
		}
	}
}

// wasSet notes that a gate does what it was last told: nothing remains of what it was told before.
func (ls *listenerSet) wasSet(gate Gate) {
	for l := range ls.remnants {
		if l.gate == gate {
			delete(ls.remnants, l)
		}
	}
	ls.owner.health.report(Trouble{Of: partTrouble(gate)})
}

// keepsPart reports whether new connections may still reach a generation that should get none.
func (ls *listenerSet) keepsPart(g *generation) bool {
	for _, r := range ls.remnants {
		if r.of == g {
			return true
		}
	}
	return false
}

// errStillReached is why a generation does not finish yet.
var errStillReached = errors.New("new connections still reach it; superctl status shows why, and it finishes when none does")

// partEnded waits, not longer than undoTime, until no new connection reaches a generation any more,
// and reports whether that is so.
func (g *generation) partEnded(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	return g.owner.await(ctx, func() (bool, error) { return !g.owner.listeners.keepsPart(g), nil }) == nil
}

// retireUnreached retires a generation as soon as no new connection reaches it and its queue is
// empty.
func (g *generation) retireUnreached() {
	g.owner.async(func() {
		if g.owner.await(context.Background(), func() (bool, error) {
			return !g.owner.listeners.keepsPart(g), nil
		}) != nil {
			return // the daemon ends
		}
		_, _ = g.settle(context.Background(), g.plan.Settle)
		_ = g.owner.do(func() {
			if g.state == Standby || g.state == Staged {
				g.retire()
			}
		})
	})
}
