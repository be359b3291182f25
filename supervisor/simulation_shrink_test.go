package supervisor

import (
	"slices"
	"strings"
	"testing"
)

// shrunk is the smallest scenario found that still fails: what can be left out of the actions, and
// of the site, is.
func shrunk(t *testing.T, sc scenario) scenario {
	t.Helper()
	runs := 0
	fails := func(sc scenario) bool {
		runs++
		return runs < 300 && len(runScenario(t, sc, inShort).wrong) > 0
	}
	for again := true; again; {
		again = false
		for size := max(1, len(sc.Actions)/2); size >= 1; size /= 2 {
			for at := 0; at+size <= len(sc.Actions); {
				fewer := sc
				fewer.Actions = slices.Delete(slices.Clone(sc.Actions), at, at+size)
				if fails(fewer) {
					sc, again = fewer, true
				} else {
					at += size
				}
			}
		}
	}
	for _, simpler := range []func(*simSite){
		func(s *simSite) { s.Listeners = min(s.Listeners, 1) }, func(s *simSite) { s.Instances = 1 }, func(s *simSite) {
			if s.Listeners > 0 || s.Single {
				s.Worker, s.After = "", false
			}
		},
		func(s *simSite) {
			if s.Listeners > 0 || s.Worker != "" {
				s.Single, s.After = false, false
			}
		}, func(s *simSite) { s.Standby = false }, func(s *simSite) { s.Linger = false },
		func(s *simSite) { s.Always = false }, func(s *simSite) { s.Look = false },
		func(s *simSite) { s.Store = false }, func(s *simSite) { s.Cron = "" },
		func(s *simSite) { s.Assets = false },
		func(s *simSite) { s.Ready = false }, func(s *simSite) { s.SlowDisk = 0 },
		func(s *simSite) { s.Strikes = false }, func(s *simSite) { s.Guard = false },
		func(s *simSite) { s.Control = 0 }, func(s *simSite) { s.HoldPage = false },
		func(s *simSite) { s.Hold = 0 }, func(s *simSite) { s.Rate, s.Freezes = "", false },
	} {
		other := sc
		simpler(&other.Site)
		if other.Site != sc.Site && fails(other) {
			sc = other
		}
	}
	for i := range sc.Bad {
		other := sc
		other.Bad = slices.Clone(sc.Bad)
		other.Bad[i] = simRelease{Name: sc.Bad[i].Name}
		if other.Bad[i] != sc.Bad[i] && fails(other) {
			sc = other
		}
	}
	return sc
}

// excerpt is what a person needs to see of a failed run: the scenario, and what happened before the
// first thing that was wrong.
func excerpt(m *sim) string {
	at := slices.IndexFunc(m.log, func(line string) bool { return strings.Contains(line, "WRONG: ") })
	if at < 0 {
		at = len(m.log) - 1
	}
	const before, after = 120, 3
	lines := m.log[max(0, at-before):min(len(m.log), at+after)]
	return m.sc.String() + strings.Join(lines, "\n")
}
