package supervisor

import (
	"slices"

	"go.uber.org/zap"
)

// half is the part of the connections that the old generation gets in a comparison, in 10,000.
const half = 5000

// division is that two generations serve at the same time, so that the guard can compare them: the
// staged one of a canary and the live one, or the live one on probation and the one before, which
// gets a half of the new connections again. Every request is steered by itself meanwhile: workers
// with the drain hook answer with "Connection: close".
type division struct {
	before, after *generation
	shares        []listener // of before, which have a part
	turns         []string   // names of listeners whose gates lead to one generation at a time
	back          bool       // it is the turn of before
}

// mayDivide reports whether the gates can lead to two generations again, the live one and the one
// before it.
func (ls *listenerSet) mayDivide(before, after *generation) bool {
	if before.held || before.unroutable || after.unroutable || before.state != Standby || after.state != Live {
		return false
	}
	for name := range after.listeners() {
		if sharesQueue(after.gates[name]) || before.gates[name] != after.gates[name] || len(before.serving(name)) == 0 {
			return false
		}
	}
	return true
}

// divide gives the generation before a half of the new connections again. Where a gate leads to one
// generation at a time they take turns.
func (ls *listenerSet) divide(before, after *generation) {
	d := &division{before: before, after: after}
	ls.divided = d
	before.mixed, after.mixed = true, true
	if after.state != Live {
		return // a canary has its own share
	}
	for name := range ordered(after.listeners()) {
		list := before.serving(name)
		if len(list) == 1 && list[0].steered() {
			if err := list[0].canary(half, nil); err != nil {
				ls.log.Error("compare two generations", zap.String("listener", name), zap.Error(err))
				continue
			}
			d.shares = append(d.shares, list[0])
			continue
		}
		d.turns = append(d.turns, name)
	}
	ls.takeTurns()
}

// takeTurns turns the gates that lead to one generation at a time to the other one.
func (ls *listenerSet) takeTurns() {
	d := ls.divided
	if d == nil || len(d.turns) == 0 {
		return
	}
	d.back = !d.back
	ls.turnTo(d.after)
	if d.back {
		ls.turnTo(d.before)
	}
}

// turnTo turns the gates that lead to one generation at a time.
func (ls *listenerSet) turnTo(g *generation) {
	for _, name := range ls.divided.turns {
		serving := g.serving(name)
		if len(serving) == 0 {
			continue
		}
		if err := g.gates[name].Spread(numbersOf(serving)); err != nil {
			ls.log.Error("compare two generations", zap.String("listener", name), zap.Error(err))
		}
	}
}

// unite ends a division: the live generation gets all connections.
func (ls *listenerSet) unite() {
	d := ls.divided
	if d == nil {
		return
	}
	d.before.mixed, d.after.mixed = false, false
	if ls.owner.live == d.after {
		ls.turnTo(d.after)
		for _, l := range d.shares {
			err := l.canary(0, nil)
			if err != nil {
				ls.log.Error("end a comparison", zap.String("listener", l.gate.Name()), zap.Error(err))
			}
		}
	}
	ls.divided = nil
}

// sharedWith returns the generation that gets a part of a gate's connections for a comparison, or 0.
func (d *division) sharedWith(gate Gate) int {
	if d == nil || !slices.ContainsFunc(d.shares, func(l listener) bool { return l.gate == gate }) &&
		!slices.Contains(d.turns, gate.Name()) {
		return 0
	}
	return d.before.id
}
