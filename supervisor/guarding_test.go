package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
)

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

// A gate that refuses at first to give the old release its part leaves the new one alone with what
// fails meanwhile.
func TestErrorsBeforeTheOldReleaseHasItsPartAreNotCompared(t *testing.T) {
	for name, control := range map[string]int{"a comparison": 0, "a control": 2000} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				kept := usual()
				kept.Control = control
				site, stop := guardedBy(t, w, kept)
				defer stop()
				switchTo(t, site.s, "r1")
				site.hiccups()
				refused := 0
				w.gate.refuses = func(_, share int) error {
					if (share == half || share == control && control > 0) && refused < 8 {
						refused++
						return errors.New("no memory")
					}
					return nil
				}
				site.begin()
				time.Sleep(time.Minute)
				out, progress := site.probation(t)
				want(t, site.s, out, Done, "r2")
				if r := out.Guard[0]; r.Verdict != api.NoWorse || len(out.Warnings) > 0 || refused != 8 {
					t.Errorf("guard: %+v, warnings %q, progress %q", r, out.Warnings, progress)
				}
			})
		})
	}
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
