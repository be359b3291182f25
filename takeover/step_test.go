package takeover

import (
	"fmt"
	"testing"
)

// every calls f with each combination of facts.
func every(f func(facts)) {
	for _, daemon := range []daemonState{daemonDown, daemonUp, daemonLive} {
		for bits := range 8 {
			f(facts{server: bits&1 != 0, noticed: bits&2 != 0, units: bits&4 != 0, daemon: daemon})
		}
	}
}

func TestEachCombinationOfFactsHasItsStep(t *testing.T) {
	want := map[string]Step{
		// daemon, server runs, noticed; the units matter only once a release is live
		"down/true/false": Share, "down/true/true": Start, "down/false/false": Start, "down/false/true": Start,
		"up/true/false": Share, "up/true/true": Switch, "up/false/false": Switch, "up/false/true": Switch,
		"live/true/false/false": Stop, "live/true/false/true": Stop, "live/true/true/false": Stop, "live/true/true/true": Stop,
		"live/false/false/false": Enable, "live/false/true/false": Enable,
		"live/false/true/true": Finish, "live/false/false/true": Done,
	}
	names := map[daemonState]string{daemonDown: "down", daemonUp: "up", daemonLive: "live"}
	every(func(f facts) {
		name := fmt.Sprintf("%s/%t/%t", names[f.daemon], f.server, f.noticed)
		if f.daemon == daemonLive {
			name += fmt.Sprintf("/%t", f.units)
		}
		if got := next(f); want[name] == "" || got != want[name] {
			t.Errorf("%s: the next step is %q, want %q", name, got, want[name])
		}
	})
}

// done is what is true after a step.
func done(f facts, s Step) facts {
	switch s {
	case Share:
		f.noticed = true
	case Start:
		f.daemon = daemonUp
	case Switch:
		f.daemon = daemonLive
	case Stop:
		f.server = false
	case Enable:
		f.units = true
	case Finish:
		f.noticed = false
	case Done:
	}
	return f
}

func TestATakeoverEndsFromAnywhere(t *testing.T) {
	every(func(begin facts) {
		f := begin
		for range 8 {
			f = done(f, next(f))
		}
		if next(f) != Done {
			t.Errorf("from %+v it comes to %+v, and goes on with %q", begin, f, next(f))
		}
	})
}

// everyMove calls f with each combination of the facts of a move.
func everyMove(f func(facts)) {
	every(func(one facts) {
		for bits := range 4 {
			one.own, one.moved = bits&1 != 0, bits&2 != 0
			if one.own || !one.units {
				f(one)
			}
		}
	})
}

// doneMove is what is true after a step of a move.
func doneMove(f facts, s Step) facts {
	switch s {
	case Enable:
		f.own, f.noticed = true, false
	case Move:
		f.moved = true
	case Finish:
		f.units = true
	default:
		return done(f, s)
	}
	return f
}

func TestATakeoverOnAnotherPortEndsFromAnywhere(t *testing.T) {
	everyMove(func(begin facts) {
		f := begin
		for range 9 {
			f = doneMove(f, nextMove(f))
		}
		if nextMove(f) != Done {
			t.Errorf("from %+v it comes to %+v, and goes on with %q", begin, f, nextMove(f))
		}
	})
}

// nginx moves only to an app that is live and comes back by itself, and only then the old server is
// stopped.
func TestNoStepLeavesNginxWithoutAServer(t *testing.T) {
	everyMove(func(f facts) {
		switch s := nextMove(f); {
		case s == Move && (f.daemon != daemonLive || !f.own || f.noticed),
			(s == Stop || s == Finish) && (f.daemon != daemonLive || !f.moved || f.noticed),
			(s == Start || s == Switch) && f.server && !f.noticed:
			t.Errorf("%+v: %q", f, s)
		}
	})
}

// The old server is stopped only when a release is live, and its listener is shared before the
// daemon binds next to it.
func TestNoStepLeavesNeitherServing(t *testing.T) {
	every(func(f facts) {
		switch next(f) {
		case Stop, Enable, Finish:
			if f.daemon != daemonLive {
				t.Errorf("%+v: %q, and no release is live", f, next(f))
			}
		case Start, Switch:
			if f.server && !f.noticed {
				t.Errorf("%+v: %q, and the listener is not shared", f, next(f))
			}
		default:
		}
	})
}
