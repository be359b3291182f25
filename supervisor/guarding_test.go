package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
)

// users are requests of users, as the workers count them: a second at a time, as the gate sends them.
type users struct {
	mu     sync.Mutex
	places map[string]*requests.Reading
	broken error
	ended  chan struct{}
}

// guardedSite is a site with two releases whose second answers a part of its requests with 500.
type guardedSite struct {
	*users
	w      *world
	s      *Supervisor
	dir    string
	wrong  map[int]uint64                             // 5xx of each 10 requests, by generation
	mute   bool                                       // they end without an answer instead
	every  int                                        // requests a second; 0 = 20
	hangs  map[int]bool                               // the requests of these generations are never answered
	nobody bool                                       // comes any more
	took   func(gen int, n uint64) requests.Histogram // how long n answers take; nil = they have no durations
	tick   func(second int)
}

// guardedBy makes a site with a guard on its process. Requests come as soon as serve is called.
func guardedBy(t *testing.T, w *world, g *Guard) (site *guardedSite, stop func()) {
	t.Helper()
	withDrainHook(t, w)
	base := w.plan
	w.plan = func(p Plan) Plan {
		p = base(p)
		p.Probation = 10 * time.Second
		p.Processes[0].Guard = g
		return p
	}
	dir := t.TempDir()
	s, end := w.supervisor(dir)
	u := &users{places: make(map[string]*requests.Reading), ended: make(chan struct{})}
	s.counts.source = u.report
	site = &guardedSite{users: u, w: w, s: s, dir: dir, wrong: map[int]uint64{}, hangs: map[int]bool{}}
	return site, func() { close(u.ended); end() }
}

func (u *users) report() (requests.Report, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := requests.Report{Places: make(map[string]*requests.Reading)}
	for place, of := range u.places {
		c := *of
		r.Places[place] = &c
	}
	return r, u.broken
}

// begin has users come until the site is stopped.
func (site *guardedSite) begin() {
	for gen := range 5 {
		site.places[countsOf(gen)] = &requests.Reading{Counting: true}
	}
	go func() {
		for second := 1; ; second++ {
			select {
			case <-site.ended:
				return
			case <-time.After(time.Second):
			}
			site.second()
			if site.tick != nil {
				site.tick(second)
			}
		}
	}()
}

// second has the requests of a second reach the generations that the gate leads to.
func (site *guardedSite) second() {
	g := site.w.gate
	g.mu.Lock()
	live, part := g.live, part{}
	if len(g.parts) > 0 {
		part = g.parts[len(g.parts)-1]
	}
	g.mu.Unlock()
	site.mu.Lock()
	defer site.mu.Unlock()
	n := uint64(20)
	if site.nobody {
		n = 0
	} else if site.every > 0 {
		n = uint64(site.every) //nolint:gosec // positive
	}
	shared := uint64(0)
	if part.share > 0 && part.gen != live {
		shared = n * uint64(part.share) / 10_000 //nolint:gosec // positive
		site.answer(part.gen, shared)
	}
	site.answer(live, n-shared)
}

func countsOf(gen int) string { return fmt.Sprintf("g%d.web.0", gen) }

func (site *guardedSite) answer(gen int, n uint64) {
	r := site.places[countsOf(gen)]
	if r == nil {
		return
	}
	if site.hangs[gen] {
		r.Started, r.InFlight = r.Started+n, r.InFlight+n
		return
	}
	wrong := n * site.wrong[gen] / 10
	r.Started, r.Answered[1] = r.Started+n, r.Answered[1]+n-wrong
	if site.took != nil {
		r.Add(&requests.Counts{Durations: site.took(gen, n)})
	}
	if site.mute {
		r.Broken += wrong
		return
	}
	r.Answered[4] += wrong
}

// usual is the guard of a config that says nothing about it.
func usual() *Guard { return &Guard{Points: 0.02, Factor: 2} }

func TestAReleaseWithMoreErrorsIsReverted(t *testing.T) {
	for _, kind := range []string{"steer", "rename"} {
		t.Run(kind, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.gate.kind = kind
				site, stop := guardedBy(t, w, usual())
				defer stop()
				switchTo(t, site.s, "r1")
				site.wrong[2] = 5
				site.begin()
				time.Sleep(time.Minute)
				began := time.Now()
				out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
				want(t, site.s, out, Reverted, "r1")
				if !strings.HasPrefix(out.Error, "probation: web: 5xx 0 % -> 50 % (") ||
					!strings.Contains(out.Error, "; r1 had 0 of ") {
					t.Errorf("error %q", out.Error)
				}
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("reverted after %s", took)
				}
				if len(out.Guard) != 1 || out.Guard[0].Verdict != api.Worse || out.Guard[0].OldErrors != 0 ||
					2*out.Guard[0].Errors != out.Guard[0].Requests {
					t.Errorf("guard: %+v", out.Guard)
				}
				if live := w.gate.Live(); live != 1 {
					t.Errorf("the gate leads to generation %d", live)
				}
			})
		})
	}
}

func TestAReleaseThatDoesNotAnswerIsReverted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[2], site.mute = 5, true
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Reverted, "r1")
		if !strings.HasPrefix(out.Error, "probation: web: 5xx or no answer 0 % -> 50 % (") {
			t.Errorf("error %q", out.Error)
		}
		if r := out.Guard[0]; r.Broken != r.Errors || r.Broken == 0 || r.OldBroken != 0 {
			t.Errorf("guard %+v", r)
		}
	})
}

// Clients that leave tell nothing of a release.
func TestAReleaseWhoseClientsLeaveIsNotReverted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.tick = func(int) {
			site.mu.Lock()
			defer site.mu.Unlock()
			site.places[countsOf(2)].Started += 10
			site.places[countsOf(2)].Aborted += 10
		}
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Done, "r2")
		if out.Guard[0].Errors != 0 {
			t.Errorf("guard %+v", out.Guard[0])
		}
	})
}

func TestAnEqualReleaseIsNotReverted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		// For five seconds of the probation half of all requests fail, in both releases.
		site.hiccups()
		site.begin()
		time.Sleep(time.Minute)
		out, progress := site.probation(t)
		want(t, site.s, out, Done, "r2")
		if len(progress) != 2 || !strings.HasPrefix(progress[0], "web: 5xx 0 % -> ") ||
			strings.Contains(progress[0], "of 0 requests") || !strings.HasSuffix(progress[0], ": compared with r1") ||
			progress[1] != "web: no difference" {
			t.Errorf("progress %q", progress)
		}
		if out.Guard[0].Verdict != api.NoWorse || len(out.Warnings) > 0 {
			t.Errorf("guard: %+v, warnings %q", out.Guard, out.Warnings)
		}
		if shares := w.gate.shares(); !slices.Equal(shares, []int{half, 0}) {
			t.Errorf("shares %v", shares)
		}
	})
}

// probation switches to r2, and returns what was told in the probation.
func (site *guardedSite) probation(t *testing.T) (out *Outcome, told []string) {
	t.Helper()
	out, err := site.s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(ev Event) {
		if ev.Type == "progress" && ev.Step == stepProbation {
			told = append(told, ev.Detail)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, told
}

func TestAControlKeepsItsPartForTheWholeProbation(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		kept := usual()
		kept.Control = 2000
		site, stop := guardedBy(t, w, kept)
		defer stop()
		switchTo(t, site.s, "r1")
		site.tick = func(second int) {
			if second < 61 || second > 69 {
				return
			}
			st := site.s.Status()
			if st.Changing == nil || st.Changing.OldShare != 20 || st.Listeners[0].Canary != 1 {
				t.Errorf("after %d s: %+v, %+v", second, st.Changing, st.Listeners)
			}
		}
		site.begin()
		time.Sleep(time.Minute)
		out, progress := site.probation(t)
		want(t, site.s, out, Done, "r2")
		if !slices.Equal(progress, []string{"web: r1 keeps 20 % of the connections"}) {
			t.Errorf("progress %q", progress)
		}
		if shares := w.gate.shares(); !slices.Equal(shares, []int{2000, 0}) {
			t.Errorf("shares %v", shares)
		}
		if r := out.Guard[0]; r.Verdict != api.NoWorse || r.OldRequests == 0 || r.OldRequests > r.Requests/3 {
			t.Errorf("guard %+v", r)
		}
	})
}

func TestAReleaseThatIsWorseThanItsControlIsReverted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		kept := usual()
		kept.Control = 2000
		site, stop := guardedBy(t, w, kept)
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[2] = 5
		site.begin()
		time.Sleep(time.Minute)
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Reverted, "r1")
		if r := out.Guard[0]; r.Verdict != api.Worse || r.OldRequests == 0 || r.Seconds > 10 {
			t.Errorf("guard %+v", r)
		}
		if live := w.gate.Live(); live != 1 || ask(site.s.core, func() bool { return site.s.live.mixed }) {
			t.Errorf("the gate leads to generation %d", live)
		}
	})
}

// After a comparison that has found nothing the old release has its part again.
func TestAComparisonEndsInTheControl(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		kept := usual()
		kept.Control = 500
		site, stop := guardedBy(t, w, kept)
		defer stop()
		base := w.plan
		w.plan = func(p Plan) Plan {
			p = base(p)
			p.Probation = time.Minute
			return p
		}
		switchTo(t, site.s, "r1")
		site.hiccups()
		site.begin()
		time.Sleep(time.Minute)
		want(t, site.s, change1(t, site.s, Request{Kind: Switch, Release: "r2"}), Done, "r2")
		if shares := w.gate.shares(); !slices.Equal(shares, []int{500, half, 500, 0}) {
			t.Errorf("shares %v", shares)
		}
	})
}

func TestACanaryWithMoreErrorsIsReverted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[2] = 5
		site.begin()
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2", Canary: &Canary{Steps: []int{2000}, For: time.Minute}})
		want(t, site.s, out, Reverted, "r1")
		if !strings.HasPrefix(out.Error, "canary: at 20 %: web: 5xx 0 % -> 50 % (") {
			t.Errorf("error %q", out.Error)
		}
		if took := time.Duration(out.Seconds * float64(time.Second)); took > 40*time.Second {
			t.Errorf("reverted after %s", took)
		}
		if ask(site.s.core, func() bool { return site.s.live.mixed }) {
			t.Error("r1 closes each connection after its answer still")
		}
	})
}

func TestAReleaseWithFewRequestsHasNoVerdict(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.every = 1
		site.begin()
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Done, "r2")
		if out.Guard[0].Verdict != api.NoVerdict || !strings.Contains(detailOf(out, stepProbation), "; no verdict: ") {
			t.Errorf("guard %+v, %q", out.Guard, detailOf(out, stepProbation))
		}
	})
}

func detailOf(out *Outcome, step string) string {
	for _, st := range out.Steps {
		if st.Name == step {
			return st.Detail
		}
	}
	return ""
}

func TestAServerThatDoesNotCountIsNotGuarded(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Done, "r2")
		if out.Guard[0].Verdict != api.NotCounted ||
			detailOf(out, stepProbation) != "healthy for 10 s; requests not counted (unknown server)" {
			t.Errorf("guard %+v, %q", out.Guard, detailOf(out, stepProbation))
		}
	})
}

func TestAGuardThatIsOffJudgesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, nil)
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[2] = 10
		site.begin()
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Done, "r2")
		if out.Guard != nil || detailOf(out, stepProbation) != "healthy for 10 s" {
			t.Errorf("guard %+v, %q", out.Guard, detailOf(out, stepProbation))
		}
	})
}

func TestAGuardThatOnlyWarnsRevertsNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		warn := usual()
		warn.Warn = true
		site, stop := guardedBy(t, w, warn)
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[2] = 5
		site.begin()
		time.Sleep(time.Minute)
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Done, "r2")
		if len(out.Warnings) != 1 ||
			!strings.HasSuffix(out.Warnings[0], `; not reverted, because the guard is set to "warn"`) {
			t.Errorf("warnings %q", out.Warnings)
		}
		if out.Guard[0].Verdict != api.Worse {
			t.Errorf("guard %+v", out.Guard)
		}
		if shares := w.gate.shares(); !slices.Equal(shares, []int{half, 0}) {
			t.Errorf("shares %v", shares)
		}
	})
}

// Behind a shared gate the old workers stop at the cutover.
func TestAReleaseThatCannotBeComparedIsOnlyWarnedOf(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.gate.kind = kindShared
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[4] = 5 // 1 and 3 are those of the preflights
		site.begin()
		time.Sleep(time.Minute)
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Done, "r2")
		if len(out.Warnings) != 1 ||
			!strings.HasSuffix(out.Warnings[0], "; not reverted, because r1 cannot serve at the same time to compare") {
			t.Errorf("warnings %q", out.Warnings)
		}
	})
}

func TestCountsThatJumpOrVanishRevertNothing(t *testing.T) {
	for name, spoil := range map[string]func(*guardedSite, int){
		"they jump": func(site *guardedSite, second int) {
			if second == 3 {
				site.places["g2.web.0"].Answered[4] += 1 << 40
			}
		},
		"they begin again": func(site *guardedSite, second int) {
			if second%2 == 0 {
				site.places["g2.web.0"] = &requests.Reading{Counting: true}
			}
		},
		"they vanish": func(site *guardedSite, second int) {
			if second == 3 {
				delete(site.places, "g2.web.0")
			}
		},
		"they cannot be read": func(site *guardedSite, second int) {
			if second == 3 {
				site.broken = errors.New("permission denied")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				site, stop := guardedBy(t, w, usual())
				defer stop()
				switchTo(t, site.s, "r1")
				site.tick = func(second int) {
					site.mu.Lock()
					defer site.mu.Unlock()
					spoil(site, second)
				}
				site.begin()
				out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
				want(t, site.s, out, Done, "r2")
			})
		})
	}
}

func TestADeathDuringAComparisonReverts(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.wrong[2] = 5
		site.tick = func(int) {
			if st := site.s.Status(); st.Generation == 2 && st.Listeners[0].Canary == 1 {
				_ = w.procs[len(w.procs)-1].KillAll()
			}
		}
		site.begin()
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2"})
		want(t, site.s, out, Reverted, "r1")
		if strings.Contains(out.Error, "5xx") {
			t.Errorf("error %q", out.Error)
		}
		if live := w.gate.Live(); live != 1 {
			t.Errorf("the gate leads to generation %d", live)
		}
		synctest.Wait()
	})
}
