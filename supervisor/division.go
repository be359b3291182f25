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
	refused       []listener // of before, whose gates could not be set yet
	turns         []string   // names of listeners whose gates lead to one generation at a time
	back          bool       // it is the turn of before
}

// mayDivide reports whether the gates can lead to two generations again, the live one and the one
// before it.
func (ls *listenerSet) mayDivide(before, after *generation) bool {
	if before.held || before.unroutable || after.unroutable || before.state != Standby || after.state != Live {
		return false
	}
	if ls.owner.maintenance.on != nil {
		return false // there is nothing to compare
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
			d.refused = append(d.refused, list[0])
			continue
		}
		d.turns = append(d.turns, name)
	}
	ls.divideOn()
}

// divideOn is called each second of a comparison. It turns the gates that lead to one generation at a
// time to the other one, and gives the generation before its half where the gate has refused to.
func (ls *listenerSet) divideOn() {
	d := ls.divided
	if d == nil {
		return
	}
	d.refused = slices.DeleteFunc(d.refused, func(l listener) bool {
		if err := l.canary(half, nil); err != nil {
			ls.log.Error("compare two generations", zap.String("listener", l.gate.Name()), zap.Error(err))
			return false
		}
		ls.wasSet(l.gate)
		d.shares = append(d.shares, l)
		return true
	})
	d.back = !d.back
	if d.back {
		ls.turnTo(d.before)
	} else {
		ls.turnTo(d.after)
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
		for _, name := range d.turns {
			gate := d.after.gates[name]
			if l := (listener{gate, gate.Live()}); !d.after.uses(l) {
				ls.endPart(l, d.before)
			}
		}
		for _, l := range d.shares {
			ls.endPart(l, d.before)
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
