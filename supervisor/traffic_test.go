package supervisor

import (
	"context"
	"math"
	"math/bits"
	"testing"
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
	"superctl/supervisor/worker"
)

// rate is the requests per second of a site whose users come with site.begin.
const rate = 20

// wantTraffic checks the requests of one release: 20 a second for some seconds, to within one second.
func wantTraffic(t *testing.T, of *api.Traffic, release string, seconds float64) {
	t.Helper()
	if of == nil || of.Release != release || math.Abs(of.Seconds-seconds) > 1 ||
		math.Abs(float64(of.Requests)-rate*of.Seconds) > rate {
		t.Fatalf("%+v, not %s with %d requests a second for %g s", of, release, rate, seconds)
	}
}

func trafficOfWeb(t *testing.T, out *Outcome) (before, after *api.Traffic) {
	t.Helper()
	if len(out.Traffic) != 1 || out.Traffic[0].Process != "web" {
		t.Fatalf("traffic: %+v", out.Traffic)
	}
	return out.Traffic[0].Before, out.Traffic[0].After
}

// hookTime is how long the `before` hook of a switch takes.
const hookTime = 30 * time.Second

// withTraffic makes a site whose users come as soon as serve is called. Each switch has a `before` hook.
func withTraffic(t *testing.T, w *world, alter func(*Plan)) (site *guardedSite, stop func()) {
	t.Helper()
	site, stop = guardedBy(t, w, usual())
	base := w.plan
	w.plan = func(p Plan) Plan {
		p = base(p)
		p.Hooks.Before = [][]string{{"before"}}
		if alter != nil {
			alter(&p)
		}
		return p
	}
	w.hooks = func(context.Context, worker.Command) error { time.Sleep(hookTime); return nil }
	switchTo(t, site.s, "r1")
	return site, stop
}

// serve has users come, for a minute so far.
func (site *guardedSite) serve() {
	site.begin()
	time.Sleep(time.Minute)
}

func TestASwitchReportsTheRequestsBeforeAndAfterItsCutover(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := withTraffic(t, w, nil)
		defer stop()
		site.wrong[1] = 1
		site.tick = func(int) {
			site.mu.Lock()
			defer site.mu.Unlock()
			for gen, took := range map[int]time.Duration{1: 21 * time.Millisecond, 2: 3 * time.Millisecond} {
				c := &site.places[countsOf(gen)].Counts
				c.Durations = durationsOf(t, took, c.Ended())
			}
		}
		site.serve()
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Done, "r2")
		before, after := trafficOfWeb(t, out)
		wantTraffic(t, before, "r1", hookTime.Seconds())
		wantTraffic(t, after, "r2", 10)
		if 10*before.Status5xx != before.Requests || after.Status5xx != 0 {
			t.Errorf("before %+v, after %+v", before, after)
		}
		if math.Abs(*before.P50-0.021) > 0.001 || math.Abs(*after.P99-0.003) > 0.0002 {
			t.Errorf("p50 %g before, p99 %g after", *before.P50, *after.P99)
		}
		if n := len(before.Durations); n != 6 || before.Durations[5] != before.Requests || len(after.Durations) != 3 {
			t.Errorf("durations %v before, %v after", before.Durations, after.Durations)
		}
	})
}

// durationsOf returns the durations of n answers that all took so long.
func durationsOf(t *testing.T, took time.Duration, n uint64) requests.Histogram {
	t.Helper()
	v := uint64(took) >> 12 //nolint:gosec // positive
	e := bits.Len64(v) - 5
	h, err := requests.FromCells(map[int]uint64{16*e + int(v>>e): n}) //nolint:gosec // small
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestARevertReportsTheRequestsOfTheBadRelease(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := withTraffic(t, w, nil)
		defer stop()
		site.wrong[2] = 5
		site.serve()
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Reverted, "r1")
		before, after := trafficOfWeb(t, out)
		wantTraffic(t, before, "r1", hookTime.Seconds())
		if after.Release != "r2" || after.Requests == 0 || 2*after.Status5xx != after.Requests {
			t.Errorf("after %+v", after)
		}
	})
}

// While workers are replaced one by one, users reach both releases; while connections are held, none.
func TestAReplacementIsNeitherBeforeNorAfter(t *testing.T) {
	for strategy, before := range map[Strategy]float64{
		Rolling: hookTime.Seconds(), // and then the workers
		Hold:    0,                  // the hook runs while connections are held
	} {
		t.Run(string(strategy), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				site, stop := withTraffic(t, w, func(p *Plan) {
					p.Processes[0].Strategy, p.Processes[0].Surge, p.Processes[0].Hold = strategy, 1, time.Minute
				})
				defer stop()
				w.releases["r2"] = behaviour{answerAfter: 5 * time.Second}
				site.serve()
				out := switchTo(t, site.s, "r2")
				want(t, site.s, out, Done, "r2")
				old, now := trafficOfWeb(t, out)
				if math.Abs(old.Seconds-before) > 0.5 || math.Abs(now.Seconds-10) > 0.5 || out.Seconds < 45 {
					t.Errorf("%g s before, %g s after, of %g s", old.Seconds, now.Seconds, out.Seconds)
				}
			})
		})
	}
}

func TestASwitchSaysWhichReleaseDoesNotCount(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := withTraffic(t, w, nil)
		defer stop()
		site.serve()
		site.mu.Lock()
		delete(site.places, countsOf(2))
		site.mu.Unlock()
		before, after := trafficOfWeb(t, switchTo(t, site.s, "r2"))
		if before.NotCounted || !after.NotCounted || after.Requests != 0 {
			t.Errorf("before %+v, after %+v", before, after)
		}
	})
}

func TestASwitchThatIsAbortedReportsNoRequests(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := withTraffic(t, w, nil)
		defer stop()
		w.releases["r2"] = behaviour{exitAfter: time.Millisecond}
		site.serve()
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Aborted, "r1")
		if out.Traffic != nil {
			t.Errorf("%+v", out.Traffic)
		}
	})
}
