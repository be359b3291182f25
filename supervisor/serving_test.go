package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"superctl/api"
)

// served reports whether the release that is live has a worker that answers, or a release that is
// being replaced by rolling still has.
func served(w *world) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.procs, func(p *fakeProc) bool {
		return p.spec.Process == "web" && p.alive() && time.Since(p.born) >= p.how.answerAfter
	})
}

// watchStatus looks at the status every 100 ms until the time is over: it must never say that the
// app serves while nobody answers, nor go on saying that it is down a second after somebody does.
func watchStatus(t *testing.T, w *world, s *Supervisor, d time.Duration) {
	t.Helper()
	good := 0
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		st := s.Status()
		if served(w) {
			good++
		} else {
			good = 0
		}
		if good == 0 && st.Health != HealthDown || good > 15 && st.Health == HealthDown ||
			(st.Reason == "") != (st.Health == HealthOK) {
			t.Fatalf(
				"%s: %q, because %q; answered for the last %d looks", time.Now().Format(time.TimeOnly), st.Health,
				st.Reason, good,
			)
		}
		var text string
		_ = s.do(func() { text = s.lastStatus })
		if st.Health == HealthDown && st.Changing == nil && !strings.Contains(text, "does not serve") &&
			!strings.Contains(text, "should be live") {
			t.Fatalf("STATUS= says %q", text)
		}
	}
}

func TestStatusNeverSaysThatAnAppServesWhichNobodyAnswers(t *testing.T) {
	for name, happens := range map[string]func(t *testing.T, w *world, s *Supervisor){
		"its only worker is killed": func(_ *testing.T, w *world, _ *Supervisor) {
			_ = w.procs[len(w.procs)-1].KillAll()
		},
		"its only worker is killed again and again": func(_ *testing.T, w *world, _ *Supervisor) {
			w.each = func(_, _ string, how behaviour) behaviour {
				how.exitAfter = 20 * time.Second
				return how
			}
			_ = w.procs[len(w.procs)-1].KillAll()
		},
		"it cannot be started again": func(_ *testing.T, w *world, _ *Supervisor) {
			w.each = func(_, _ string, how behaviour) behaviour {
				how.startErr = errors.New("exec gunicorn: no such file or directory")
				return how
			}
			_ = w.procs[len(w.procs)-1].KillAll()
		},
		"it never answers again": func(_ *testing.T, w *world, _ *Supervisor) {
			w.each = func(_, _ string, how behaviour) behaviour {
				how.answerAfter = time.Hour
				return how
			}
			_ = w.procs[len(w.procs)-1].KillAll()
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{answerAfter: 15 * time.Second}
				w.options = func(o *Options) { o.Say = func(string) {} }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				watchStatus(t, w, s, 5*time.Second)
				happens(t, w, s)
				watchStatus(t, w, s, 3*time.Minute)
			})
		})
	}
}

func TestAStartThatDoesNotServeSaysSoAndIsDecidedSoon(t *testing.T) {
	for name, test := range map[string]struct {
		how    behaviour
		within time.Duration
	}{
		"code that cannot be imported": {
			behaviour{exitAfter: 500 * time.Millisecond, answerAfter: time.Hour}, 3 * time.Second,
		},
		"code that hangs":              {behaviour{answerAfter: time.Hour}, 61 * time.Second},
		"code that answers after 20 s": {behaviour{answerAfter: 20 * time.Second}, 21 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				w.options = func(o *Options) { o.Say = func(string) {} }
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				stop()
				w.releases["r1"] = test.how
				began := time.Now()
				s, stop = w.supervisor(dir)
				defer stop()
				if took := time.Since(began); took > test.within {
					t.Errorf("the start was decided after %s", took)
				}
				synctest.Wait()
				if st := s.Status(); (st.Health == HealthOK) != served(w) || st.Release != "r1" {
					t.Errorf("%s: %s: %s", st.Release, st.Health, st.Reason)
				}
				watchStatus(t, w, s, 2*time.Minute)
			})
		})
	}
}

// failsToStart has the daemon of a live release stop, and the next one find that the release cannot
// be started.
func failsToStart(t *testing.T, w *world, breaks func()) (s *Supervisor, stop func()) {
	t.Helper()
	w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
	w.options = func(o *Options) { o.Say = func(string) {} }
	dir := t.TempDir()
	s, stop = w.supervisor(dir)
	switchTo(t, s, "r1")
	stop()
	w.records = nil
	breaks()
	s, stop = w.supervisor(dir)
	synctest.Wait()
	return s, stop
}

func TestAStopDuringAStartIsNoError(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		core, logs := observer.New(zap.ErrorLevel)
		w.options = func(o *Options) { o.Log = zap.New(core) }
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		stop()
		w.releases["r1"] = behaviour{answerAfter: 20 * time.Second}
		s, stop = w.starting(dir)
		synctest.Wait()
		if st := s.Status(); st.Changing == nil || st.Changing.Step != stepProve {
			t.Fatalf("it does not start: %+v", st)
		}
		stop()
		for _, e := range logs.All() {
			t.Errorf("%s: %v", e.Message, e.ContextMap())
		}
	})
}

func TestAStartWithoutItsReleaseSaysWhatShouldBeLiveAndIsTriedAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		s, stop := failsToStart(t, w, func() { delete(w.releases, "r1") })
		defer stop()
		watchStatus(t, w, s, 2*time.Minute)
		st := s.Status()
		if st.Release != "" || st.Expected != "r1" || !st.StartFailed ||
			st.Reason != "r1 should be live and is not: resolve: no release matches r1" {
			t.Errorf("status %q, %q: %s", st.Release, st.Expected, st.Reason)
		}
		var records int
		w.set(func() { records = len(w.records) })
		if records != 1 {
			t.Errorf("the history has it %d times", records)
		}
		w.set(func() { w.releases["r1"] = behaviour{} })
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Release != "r1" || st.Health != HealthOK || st.Expected != "" {
			t.Errorf("mended: %q is live, %q is expected, %s: %s", st.Release, st.Expected, st.Health, st.Reason)
		}
	})
}

func TestAFirstStartThatFailsSaysWhyAndIsTriedAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		var mended atomic.Bool
		w.options = func(o *Options) {
			o.Say = func(string) {}
			o.Resolve = func(ctx context.Context, target Target) (Plan, error) {
				if !mended.Load() {
					return Plan{}, errors.New("the link current leads to no release")
				}
				return w.resolve(ctx, Target{Kind: Switch, Word: "r1"})
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		synctest.Wait()
		st := s.Status()
		if !st.StartFailed || st.Expected != "" ||
			st.Reason != "a release should be live and is not: resolve: the link current leads to no release" {
			t.Errorf("status %t, %q: %s", st.StartFailed, st.Expected, st.Reason)
		}
		mended.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Release != "r1" || st.StartFailed {
			t.Errorf("mended: %q is live, %t: %s", st.Release, st.StartFailed, st.Reason)
		}
	})
}

func TestAStartOfAnAppThatOnlyWorksInTheBackgroundIsDone(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.plan = onlyBackground
		s, stop := failsToStart(t, w, func() {})
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		var records []Outcome
		w.set(func() { records = w.records })
		if len(records) != 1 || records[0].Result != api.Done || records[0].Error != "" {
			t.Errorf("the history has %+v", records)
		}
		if st := s.Status(); st.Release != "r1" {
			t.Errorf("%q is live, %s: %s", st.Release, st.Health, st.Reason)
		}
	})
}

func TestACutoverWithoutAGateHasNoDuration(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = onlyBackground
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		out := switchTo(t, s, "r1")
		i := slices.IndexFunc(out.Steps, func(st api.Step) bool { return st.Name == api.StepCutover })
		if out.Result != Done || i < 0 || out.Steps[i].Detail != "" || out.CutoverSeconds != 0 {
			t.Errorf("%+v", out)
		}
	})
}

func TestAPortInUseIsTriedAgainWithBackoffByTheSameDaemon(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		s, stop := failsToStart(t, w, func() { w.holder = "pid 7 (nginx)" })
		defer stop()
		watchStatus(t, w, s, 10*time.Minute)
		if reason := s.Status().Reason; !strings.Contains(reason, "in use by pid 7 (nginx)") {
			t.Errorf("down, because %q", reason)
		}
		var n int
		w.set(func() { n = w.refused })
		if n < 15 || n > 40 {
			t.Errorf("tried %d times in 10 minutes", n)
		}
		var records int
		w.set(func() { records = len(w.records) })
		if records != 1 {
			t.Errorf("the history has it %d times", records)
		}
		w.set(func() { w.holder = "" })
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Release != "r1" || st.Health != HealthOK {
			t.Errorf("mended: %q is live, %s: %s", st.Release, st.Health, st.Reason)
		}
	})
}

func TestASwitchAwayFromAReleaseThatDoesNotStartNeedNotWait(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		s, stop := failsToStart(t, w, func() { delete(w.releases, "r1") })
		defer stop()
		time.Sleep(5 * time.Second)
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		w.releases["r1"] = behaviour{}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Release != "r2" || st.Health != HealthOK || len(st.Generations) != 1 {
			t.Errorf("%q is live, %s: %s, %d generations", st.Release, st.Health, st.Reason, len(st.Generations))
		}
	})
}

func TestASwitchToTheLiveReleaseThatIsDownStartsItAtOnce(t *testing.T) {
	for name, mended := range map[string]bool{"and says that it serves": true, "or says why it does not": false} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				w.releases["r1"] = behaviour{exitAfter: 50 * time.Millisecond, answerAfter: time.Hour}
				_ = w.procs[0].KillAll()
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if mended {
					w.releases["r1"] = behaviour{}
				}
				before, began := len(w.procs), time.Now()
				out := switchTo(t, s, "r1")
				if took := time.Since(began); took > 5*time.Second || len(w.procs) != before+1 {
					t.Errorf("%d starts in %s", len(w.procs)-before, took)
				}
				if mended {
					want(t, s, out, Done, "r1")
					if !out.Changed || s.Status().Health != HealthOK {
						t.Errorf("changed: %v, %s", out.Changed, s.Status().Reason)
					}
					return
				}
				want(t, s, out, Aborted, "r1")
				if !strings.Contains(out.Error, "r1 does not serve: web.0 ended") || len(out.Log) == 0 {
					t.Errorf("%q, log %q", out.Error, out.Log)
				}
			})
		})
	}
}

func TestWhatIsReportedCountsUntilItIsOver(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		for _, step := range []struct {
			report         Trouble
			health, reason string
			troubles       int
		}{
			{
				Trouble{Of: "current", Why: "current was moved to r2", Health: HealthDegraded},
				HealthDegraded,
				"current was moved to r2", 1,
			},
			{
				Trouble{Of: "listener web", Why: "/run/web.sock was removed", Health: HealthDown},
				HealthDown,
				"/run/web.sock was removed", 2,
			},
			{Trouble{Of: "news", Why: "of no consequence"}, HealthDown, "/run/web.sock was removed", 3},
			{Trouble{Of: "listener web"}, HealthDegraded, "current was moved to r2", 2},
			{Trouble{Of: "current"}, HealthOK, "", 1},
		} {
			s.Report(step.report)
			st := s.Status()
			if st.Health != step.health || st.Reason != step.reason || len(st.Troubles) != step.troubles {
				t.Errorf("%+v: %s: %s, %d troubles", step.report, st.Health, st.Reason, len(st.Troubles))
			}
		}
	})
}

func TestAListenerThatTheLiveReleaseDoesNotHaveIsSaid(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.options = func(o *Options) {
			for _, name := range []string{"admin", "spare"} {
				o.Gates = append(o.Gates, w.newGate(name))
			}
			o.Unused = []string{"spare"}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		if st := s.Status(); st.Health != HealthDegraded || !strings.Contains(st.Reason, "listener admin") {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
	})
}

func TestATypingErrorIsNeitherRecordedNorTold(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		told := 0
		w.options = func(o *Options) { o.Tell = func(Outcome) { told++ } }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		records, before := len(w.records), told
		want(t, s, switchTo(t, s, "nonsense"), Aborted, "r1")
		if len(w.records) != records || told != before {
			t.Errorf("%d records, %d messages", len(w.records)-records, told-before)
		}
	})
}

func TestASwitchMeetsADaemonThatHasJustStarted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.options = func(o *Options) {
			resolve := o.Resolve
			o.Resolve = func(ctx context.Context, target Target) (Plan, error) {
				if target.Starting() {
					time.Sleep(3 * time.Second) // a slow disk
				}
				return resolve(ctx, target)
			}
		}
		s, stop := w.starting(t.TempDir())
		defer stop()
		time.Sleep(time.Second)
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
	})
}
