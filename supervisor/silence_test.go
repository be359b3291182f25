package supervisor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
)

// hangingSite is a site whose rate is guarded, and whose workers have the drain hook.
func hangingSite(t *testing.T, w *world, g *Guard) (*guardedSite, func()) {
	t.Helper()
	g.Rate = &GuardRate{}
	site, stop := guardedBy(t, w, g)
	site.took = slowly(20 * time.Millisecond)
	return site, stop
}

// hooked makes a change whose workers load the drain hook.
func (site *guardedSite) hooked(t *testing.T, req Request) *Outcome {
	t.Helper()
	out, err := site.s.Change(t.Context(), req, func(Event) { load(site.s) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// rateOf returns what was reported of the rate.
func rateOf(t *testing.T, out *Outcome) api.GuardReport {
	t.Helper()
	r := verdictOf(t, out, "rate")
	if r.Rate == nil {
		t.Fatalf("%+v", r)
	}
	return r
}

func TestAReleaseThatStopsAnsweringIsReverted(t *testing.T) {
	for name, c := range map[string]struct {
		kind    string
		control int
		canary  *Canary
		says    string
	}{
		"steer":        {kind: kindSteer, says: " with 50 % of the connections"},
		"rename":       {kind: "rename", says: " with 50 % of the connections"},
		"with control": {kind: kindSteer, control: 2000, says: "probation: web: 0 answers in "},
		"canary": {
			kind: kindSteer, canary: &Canary{Steps: []int{2000}, For: 10 * time.Minute}, says: " with 80 % of the connections",
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.gate.kind = c.kind
				g := usual()
				g.Control = c.control
				site, stop := hangingSite(t, w, g)
				defer stop()
				switchTo(t, site.s, "r1")
				site.hangs[2] = true
				site.begin()
				time.Sleep(time.Minute)
				out := site.hooked(t, Request{Kind: Switch, Release: "r2", Canary: c.canary})
				want(t, site.s, out, Reverted, "r1")
				if !strings.Contains(out.Error, "web: 0 answers in ") || !strings.Contains(out.Error, " requests wait; r1 had ") ||
					!strings.Contains(out.Error, c.says) {
					t.Errorf("error %q", out.Error)
				}
				if r := rateOf(t, out); r.Verdict != api.Worse || r.Requests != 0 || r.OldRequests == 0 || r.Rate.InFlight == 0 {
					t.Errorf("%+v %+v", r, r.Rate)
				}
				if took := time.Duration(out.Seconds * float64(time.Second)); took > 110*time.Second {
					t.Errorf("reverted after %s", took)
				}
				if live := w.gate.Live(); live != 1 {
					t.Errorf("the gate leads to generation %d", live)
				}
			})
		})
	}
}

// At night fewer users come, and after a failure of what all releases depend on none is answered.
func TestAReleaseWithoutRequestsIsNotReverted(t *testing.T) {
	for name, both := range map[string]bool{"nobody comes": false, "both releases hang": true} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				site, stop := hangingSite(t, w, usual())
				defer stop()
				switchTo(t, site.s, "r1")
				site.tick = func(second int) {
					site.mu.Lock()
					defer site.mu.Unlock()
					if second == 62 {
						site.hangs[1], site.hangs[2] = both, both
						site.idle = !both
					}
				}
				site.begin()
				time.Sleep(time.Minute)
				want(t, site.s, site.hooked(t, Request{Kind: Switch, Release: "r2"}), Done, "r2")
				if compared := len(w.gate.shares()) > 0; compared != both {
					t.Errorf("it was compared: %t", compared)
				}
			})
		})
	}
}

func TestASilenceThatTellsNothingHasNoVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		alter func(*guardedSite)
		says  string
	}{
		"long answers": {
			func(site *guardedSite) {
				site.took = func(_ int, n uint64) requests.Histogram { return answers(time.Minute, n) }
			},
			"rate: no verdict: an answer of the old release took 1m1s",
		},
		"a new site": {func(site *guardedSite) { site.every = 1 }, "rate: no verdict: the old release had "},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				site, stop := hangingSite(t, w, usual())
				defer stop()
				switchTo(t, site.s, "r1")
				site.hangs[2] = true
				c.alter(site)
				site.begin()
				time.Sleep(time.Minute)
				out := site.hooked(t, Request{Kind: Switch, Release: "r2"})
				want(t, site.s, out, Done, "r2")
				if d := detailOf(out, stepProbation); !strings.Contains(d, c.says) {
					t.Errorf("%q", d)
				}
			})
		})
	}
}

func TestAReleaseThatStopsAnsweringIsOnlyWarnedOf(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		g := usual()
		site, stop := hangingSite(t, w, g)
		defer stop()
		g.Rate.Warn = true
		switchTo(t, site.s, "r1")
		site.hangs[2] = true
		site.begin()
		time.Sleep(time.Minute)
		out := site.hooked(t, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Done, "r2")
		if !slices.ContainsFunc(out.Warnings, func(w string) bool {
			return strings.HasPrefix(w, "web: 0 answers in ") && strings.HasSuffix(w, `; not reverted, because the guard is set to "warn"`)
		}) {
			t.Errorf("warnings %q", out.Warnings)
		}
	})
}

func TestTheRateOfKeptConnectionsHasNoVerdict(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := hangingSite(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.hangs[2] = true
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2") // no worker has loaded the hook
		want(t, site.s, out, Done, "r2")
		if r := rateOf(t, out); r.Verdict != api.NoVerdict || r.Rate.Obstacle != api.ConnectionsKept ||
			!strings.HasSuffix(detailOf(out, stepProbation), "rate: no verdict: workers without the drain hook keep their connections") {
			t.Errorf("%+v, %q", r.Rate, detailOf(out, stepProbation))
		}
	})
}
