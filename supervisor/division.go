package supervisor

import (
	"slices"

	"go.uber.org/zap"
)

// half is the part of the connections that the old generation gets in a comparison, in 10,000.
const half = 5000

// division is that two generations serve at the same time, so that the guard can compare them: the
// staged one of a canary and the live one, or the live one on probation and the one before, which
// gets a part of the new connections again. Every request is steered by itself meanwhile: workers
// with the drain hook answer with "Connection: close".
type division struct {
	before, after *generation
	shares        map[string]int   // of before, by listener, in 10,000; nil = half of each
	parts         map[string]given // what it has, by listener
	turns         []string         // names of listeners whose gates lead to one generation at a time
	back          bool             // it is the turn of before
	turned        map[string]bool  // listeners whose last turn of before was not refused
}

// given is the part of the connections that a listener was given.
type given struct {
	listener
	share int
}

// share returns the part of a listener's connections that the generation before is to get.
func (d *division) share(name string) int {
	if d.shares == nil {
		return half
	}
	return d.shares[name]
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

// divide gives the generation before its share of the new connections of each listener; nil = half of
// all. Where a gate leads to one generation at a time they take turns for a half, and nothing is
// divided for less. It is called each second: a gate that has refused is asked again.
func (ls *listenerSet) divide(before, after *generation, shares map[string]int) {
	d := ls.divided
	if d == nil {
		d = &division{before: before, after: after, parts: make(map[string]given), turned: make(map[string]bool)}
		ls.divided = d
		before.mixed, after.mixed = true, true
	}
	d.shares = shares
	if after.state != Live {
		return // a canary has its own share
	}
	var turns []string
	for name := range ordered(after.listeners()) {
		list := before.serving(name)
		switch share := d.share(name); {
		case len(list) == 1 && list[0].steered():
			ls.give(name, list[0], share)
		case share == half:
			turns = append(turns, name)
		}
	}
	if len(turns) == 0 {
		ls.endTurns(d)
	}
	d.turns, d.back = turns, !d.back
	if d.back {
		ls.turnTo(d.before)
	} else {
		ls.turnTo(d.after)
	}
}

// give has a gate send a share of the new connections to a listener of the generation before.
func (ls *listenerSet) give(name string, l listener, share int) {
	d := ls.divided
	switch {
	case d.parts[name].share == share:
		return
	case share == 0:
		delete(d.parts, name)
		ls.endPart(l, d.before)
		return
	}
	if err := l.canary(share, nil); err != nil {
		ls.log.Error("compare two generations", zap.String("listener", name), zap.Error(err))
		return
	}
	ls.wasSet(l.gate)
	d.parts[name] = given{l, share}
}

// turnTo turns the gates that lead to one generation at a time.
func (ls *listenerSet) turnTo(g *generation) {
	for _, name := range ls.divided.turns {
		serving := g.serving(name)
		if len(serving) == 0 {
			continue
		}
		err := g.gates[name].Spread(numbersOf(serving))
		if err != nil {
			ls.log.Error("compare two generations", zap.String("listener", name), zap.Error(err))
		}
		if g == ls.divided.before {
			ls.divided.turned[name] = err == nil
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
		ls.endTurns(d)
		for _, part := range ordered(d.parts) {
			ls.endPart(part.listener, d.before)
		}
	}
	ls.divided = nil
}

// endTurns ends the turns of a division: the live generation has the next one, and no other.
func (ls *listenerSet) endTurns(d *division) {
	for _, name := range d.turns {
		gate := d.after.gates[name]
		if l := (listener{gate, gate.Live()}); !d.after.uses(l) {
			ls.endPart(l, d.before)
		}
	}
	d.turns, d.back = nil, false
	clear(d.turned)
}

// gives reports whether the generation before gets its part of a listener's connections now: no gate has
// refused that.
func (d *division) gives(name string) bool {
	if d == nil {
		return false
	}
	return d.parts[name].share > 0 && d.parts[name].share == d.share(name) || d.turned[name]
}

// sharedWith returns the generation that gets a part of a gate's connections for a comparison, or 0.
func (d *division) sharedWith(gate Gate) int {
	if d == nil || d.parts[gate.Name()].gate != gate && !slices.Contains(d.turns, gate.Name()) {
		return 0
	}
	return d.before.id
}

// largest returns the largest share that the generation before has, as a percentage.
func (d *division) largest() float64 {
	if d == nil {
		return 0
	}
	share := 0
	if len(d.turns) > 0 {
		share = half
	}
	for _, part := range d.parts {
		share = max(share, part.share)
	}
	return float64(share) / 100
}
