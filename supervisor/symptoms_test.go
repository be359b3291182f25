package supervisor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
)

// answers returns durations: n answers that took so long.
func answers(took time.Duration, n uint64) requests.Histogram {
	for cell := 0; ; cell++ {
		h, err := requests.FromCells(map[int]uint64{cell: n})
		if err != nil {
			panic(err)
		}
		if n == 0 || h.Quantile(1) >= took {
			return h
		}
	}
}

// timedSite is a site whose second release is slow. Its latency is guarded, and its probation takes a
// minute.
func timedSite(t *testing.T, w *world, g *Guard, took func(gen int, n uint64) requests.Histogram) (*guardedSite, func()) {
	t.Helper()
	site, stop := guardedBy(t, w, g)
	base := w.plan
	w.plan = func(p Plan) Plan {
		p = base(p)
		p.Probation = time.Minute
		return p
	}
	site.took = took
	return site, stop
}

// guardsLatency is the guard of a config with latency = "revert".
func guardsLatency() *Guard {
	g := usual()
	g.Latency = &GuardLatency{Slower: 1.5}
	return g
}

// slowly has each answer of the second release take so long, and those of the first one 20 ms.
func slowly(took time.Duration) func(gen int, n uint64) requests.Histogram {
	return func(gen int, n uint64) requests.Histogram {
		if gen == 2 {
			return answers(took, n)
		}
		return answers(20*time.Millisecond, n)
	}
}

// verdictOf returns what was reported of a quantile.
func verdictOf(t *testing.T, out *Outcome, quantile string) api.GuardReport {
	t.Helper()
	i := slices.IndexFunc(out.Guard, func(r api.GuardReport) bool { return r.Of == quantile })
	if i < 0 {
		t.Fatalf("no report of %q: %+v", quantile, out.Guard)
	}
	return out.Guard[i]
}

func TestASlowReleaseIsReverted(t *testing.T) {
	for name, c := range map[string]struct {
		took     func(gen int, n uint64) requests.Histogram
		quantile string
		says     string
	}{
		"all answers": {slowly(80 * time.Millisecond), "p50", "probation: web: p50 20 ms -> 82 ms ("},
		"one answer of ten": {func(gen int, n uint64) requests.Histogram {
			fast := requests.Counts{Durations: answers(20*time.Millisecond, n-n/10)}
			took := 20 * time.Millisecond
			if gen == 2 {
				took = 300 * time.Millisecond
			}
			fast.Add(&requests.Counts{Durations: answers(took, n/10)})
			return fast.Durations
		}, "p95", "probation: web: p95 20 ms -> 310 ms ("},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				site, stop := timedSite(t, w, guardsLatency(), c.took)
				defer stop()
				switchTo(t, site.s, "r1")
				site.begin()
				time.Sleep(time.Minute)
				out := switchTo(t, site.s, "r2")
				want(t, site.s, out, Reverted, "r1")
				if !strings.HasPrefix(out.Error, c.says) || !strings.Contains(out.Error, " answers took longer than 31 ms in ") ||
					!strings.Contains(out.Error, "; r1 had 0 of ") || strings.Contains(out.Error, " of 0 ") {
					t.Errorf("error %q", out.Error)
				}
				r := verdictOf(t, out, c.quantile)
				if r.Verdict != api.Worse || r.Errors != 0 || r.Latency.Slow == 0 || r.Latency.OldSlow != 0 || r.Requests < 40 {
					t.Errorf("%+v %+v", r, r.Latency)
				}
			})
		})
	}
}

func TestASlowCanaryIsReverted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := timedSite(t, w, guardsLatency(), slowly(80*time.Millisecond))
		defer stop()
		switchTo(t, site.s, "r1")
		site.begin()
		time.Sleep(time.Minute)
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2", Canary: &Canary{Steps: []int{5000}, For: time.Minute}})
		want(t, site.s, out, Reverted, "r1")
		if !strings.HasPrefix(out.Error, "canary: at 50 %: web: p50 20 ms -> 82 ms (") {
			t.Errorf("error %q", out.Error)
		}
	})
}

func TestASlowReleaseIsNotRevertedWithout(t *testing.T) {
	for name, c := range map[string]struct {
		alter    func(*Guard)
		took     func(gen int, n uint64) requests.Histogram
		warnings int
		says     string
	}{
		"a guard of the latency": {alter: func(g *Guard) { g.Latency = nil }, says: "; 5xx 0 of "},
		"more than a warning": {
			alter: func(g *Guard) { g.Latency.Warn = true }, warnings: 2, // p50 and p95
			says: ", p50 20 ms -> 82 ms, p95 20 ms -> 82 ms",
		},
		"a difference that a user notices": {took: slowly(28 * time.Millisecond), says: ", p50 20 ms -> "},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				g := guardsLatency()
				if c.alter != nil {
					c.alter(g)
				}
				took := c.took
				if took == nil {
					took = slowly(80 * time.Millisecond)
				}
				site, stop := timedSite(t, w, g, took)
				defer stop()
				switchTo(t, site.s, "r1")
				site.begin()
				time.Sleep(time.Minute)
				out := switchTo(t, site.s, "r2")
				want(t, site.s, out, Done, "r2")
				if len(out.Warnings) != c.warnings || !strings.Contains(detailOf(out, stepProbation), c.says) {
					t.Errorf("%q, warnings %q", detailOf(out, stepProbation), out.Warnings)
				}
			})
		})
	}
}

// A database that is slow makes both releases slow.
func TestAReleaseThatIsAsSlowAsTheOldOneIsNotReverted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		began := time.Now()
		site, stop := timedSite(t, w, guardsLatency(), func(_ int, n uint64) requests.Histogram {
			if time.Since(began) > 140*time.Second {
				return answers(400*time.Millisecond, n)
			}
			return answers(20*time.Millisecond, n)
		})
		defer stop()
		switchTo(t, site.s, "r1")
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Done, "r2")
		if len(w.gate.shares()) == 0 {
			t.Error("the releases were not compared")
		}
	})
}

func TestTheLatencyOfAColdReleaseIsNotJudged(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		answered := uint64(0)
		site, stop := timedSite(t, w, guardsLatency(), func(gen int, n uint64) requests.Histogram {
			if gen != 2 {
				return answers(20*time.Millisecond, n)
			}
			if answered += n; answered <= 200 { // 20 a second
				return answers(time.Second, n)
			}
			return answers(20*time.Millisecond, n)
		})
		defer stop()
		switchTo(t, site.s, "r1")
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Done, "r2")
		if shares := w.gate.shares(); len(shares) > 0 {
			t.Errorf("it was compared: %v", shares)
		}
		if r := verdictOf(t, out, "p95"); r.Verdict != api.NoWorse || r.Latency.Slow != 0 || r.Latency.Took > 0.025 {
			t.Errorf("%+v %+v", r, r.Latency)
		}
	})
}

func TestTheLatencyOfAnUnknownReleaseHasNoVerdict(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := timedSite(t, w, guardsLatency(), slowly(time.Second))
		defer stop()
		switchTo(t, site.s, "r1")
		site.every = 1
		site.begin()
		time.Sleep(20 * time.Second)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Done, "r2")
		if r := verdictOf(t, out, "p95"); r.Verdict != api.NoVerdict || r.OldRequests < 20 || r.OldRequests > 30 {
			t.Errorf("%+v", r)
		}
		if d := detailOf(out, stepProbation); strings.Count(d, "latency: no verdict: the old release had 2") != 1 {
			t.Errorf("%q", d)
		}
	})
}

func TestTheErrorsAreNotJudgedIfTheyAreOff(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		g := guardsLatency()
		g.Off = true
		site, stop := timedSite(t, w, g, slowly(20*time.Millisecond))
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[2] = 10
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Done, "r2")
		if len(out.Guard) != 2 || out.Guard[0].Of != "p50" || out.Guard[1].Of != "p95" {
			t.Errorf("guard %+v", out.Guard)
		}
	})
}
