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
