package supervisor

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// hiccups has both releases fail for five seconds of the probation, so that they are compared and no
// difference is found.
func (site *guardedSite) hiccups() {
	site.tick = func(second int) {
		site.mu.Lock()
		defer site.mu.Unlock()
		failing := uint64(0)
		if second >= 62 && second < 67 {
			failing = 5
		}
		site.wrong[1], site.wrong[2] = failing, failing
	}
}

// sticksFor has the gate refuse to take the old generation's part away, for d from its first refusal
// on. Where the releases take turns it refuses the last turn of the comparison, too.
func (site *guardedSite) sticksFor(d time.Duration) {
	var divided, since time.Time
	s, g := site.s, site.w.gate
	g.refuses = func(gen, share int) error { // called by the owner
		if divided.IsZero() && s.listeners.divided != nil {
			divided = time.Now()
		}
		lastTurn := gen == 2 && s.live.id == 2 && g.isLive(1) && time.Since(divided) > 8*time.Second
		if share != 0 && !lastTurn {
			return nil
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < d {
			return syscall.ENOMEM
		}
		return nil
	}
}

// stuck returns the trouble of a gate that cannot be set.
func stuck(s *Supervisor) *Trouble {
	st := s.Status()
	i := slices.IndexFunc(st.Troubles, func(t Trouble) bool { return t.Of == "connections of listener web" })
	if i < 0 {
		return nil
	}
	return &st.Troubles[i]
}

func TestAGateThatStaysDividedIsATroubleUntilItIsSet(t *testing.T) {
	for _, kind := range []string{"steer", "rename"} {
		t.Run(kind, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.gate.kind = kind
				site, stop := guardedBy(t, w, usual())
				defer stop()
				switchTo(t, site.s, "r1")
				site.sticksFor(30 * time.Second)
				site.hiccups()
				site.begin()
				time.Sleep(time.Minute)
				go func() {
					for stuck(site.s) == nil {
						time.Sleep(time.Second)
					}
					st := site.s.Status()
					if st.Health != HealthDegraded || !strings.Contains(st.Reason, `listener "web": r1 (generation 1) still gets new connections`) {
						t.Errorf("health %s: %s", st.Health, st.Reason)
					}
				}()
				out := switchTo(t, site.s, "r2")
				want(t, site.s, out, Done, "r2")
				if trouble := stuck(site.s); trouble != nil || len(out.Warnings) > 0 {
					t.Errorf("trouble %+v, warnings %q", trouble, out.Warnings)
				}
				if out.Seconds < 40 {
					t.Errorf("the switch took %.0f s, and the gate could not be set for 30 s", out.Seconds)
				}
				if !w.gate.isLive(2) || kind == "steer" && w.gate.parts[len(w.gate.parts)-1].share != 0 {
					t.Errorf("turns %v, shares %v", w.gate.turns, w.gate.shares())
				}
			})
		})
	}
}

func TestAGenerationThatKeepsItsPartIsNotStopped(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.sticksFor(5 * time.Minute)
		site.hiccups()
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Done, "r2")
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "new connections still reach it") {
			t.Errorf("warnings %q", out.Warnings)
		}
		if w.procs[0].stopped || stuck(site.s) == nil {
			t.Errorf("stopped %v, trouble %+v", w.procs[0].stopped, stuck(site.s))
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if st := site.s.Status(); w.procs[0].alive() || stuck(site.s) != nil || len(st.Generations) != 1 || st.Health != HealthOK {
			t.Errorf("%+v", st)
		}
	})
}

func TestACanaryWhoseGateCannotBeSetIsNotStopped(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		site.sticksFor(3 * time.Minute)
		site.wrong[2] = 5
		site.begin()
		out := change1(t, site.s, Request{Kind: Switch, Release: "r2", Canary: &Canary{Steps: []int{2000}, For: time.Minute}})
		want(t, site.s, out, Reverted, "r1")
		if !slices.ContainsFunc(out.Warnings, func(text string) bool {
			return strings.Contains(text, "new connections still reach it")
		}) {
			t.Errorf("warnings %q", out.Warnings)
		}
		if w.procs[1].stopped || stuck(site.s) == nil {
			t.Errorf("stopped %v, trouble %+v", w.procs[1].stopped, stuck(site.s))
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if w.procs[1].alive() || stuck(site.s) != nil {
			t.Errorf("alive %v, trouble %+v", w.procs[1].alive(), stuck(site.s))
		}
	})
}

func TestTheNextDaemonSetsAGateThatStaysDivided(t *testing.T) {
	for _, kind := range []string{"steer", "rename"} {
		t.Run(kind, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.gate.kind = kind
				site, stop := guardedBy(t, w, usual())
				switchTo(t, site.s, "r1")
				site.sticksFor(time.Hour)
				site.hiccups()
				site.begin()
				time.Sleep(time.Minute)
				go func() {
					_, _ = site.s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
				}()
				for stuck(site.s) == nil {
					time.Sleep(time.Second)
				}
				turns := len(w.gate.turns)
				leaveNow(site.s)
				stop()
				w.gate.refuses = nil
				s, stop := w.supervisor(site.dir)
				defer stop()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if w.gate.Live() != 2 || len(w.gate.turns) == turns {
					t.Errorf("turns %v", w.gate.turns)
				}
				if st := s.Status(); stuck(s) != nil || st.Release != "r2" || len(st.Generations) != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A gate that refuses to be divided at the begin of a comparison is asked again each second.
func TestAComparisonWaitsForItsGate(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		site, stop := guardedBy(t, w, usual())
		defer stop()
		switchTo(t, site.s, "r1")
		refusals := 3
		w.gate.refuses = func(_, share int) error {
			if share == half && refusals > 0 {
				refusals--
				return syscall.ENOMEM
			}
			return nil
		}
		site.wrong[2] = 5
		site.begin()
		time.Sleep(time.Minute)
		out := switchTo(t, site.s, "r2")
		want(t, site.s, out, Reverted, "r1")
		if out.Guard[0].OldRequests == 0 || refusals > 0 {
			t.Errorf("guard %+v, %d refusals left", out.Guard, refusals)
		}
	})
}
