package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// prepared asks for a change that waits, for at most a minute, and returns once it is ready: with
// its name, and with the channel of its outcome.
func prepared(ctx context.Context, t *testing.T, s *Supervisor, req Request) (change string, ended chan *Outcome) {
	t.Helper()
	req.Who, req.Prepare = "the test", time.Minute
	ready, ended := make(chan string, 1), make(chan *Outcome, 1)
	go func() {
		out, err := s.Change(ctx, req, func(ev Event) {
			if ev.Type == "ready" {
				ready <- ev.Change
			}
		})
		if err != nil {
			t.Errorf("%s: %v", req.Kind, err)
		}
		ended <- out
	}()
	select {
	case change = <-ready:
	case out := <-ended:
		t.Fatalf("it is not ready: %+v", out)
	}
	return change, ended
}

func stepNames(out *Outcome) string {
	var names []string
	for _, st := range out.Steps {
		names = append(names, st.Name)
	}
	return strings.Join(names, " ")
}

func TestAPreparedChangeCutsOverAtTheWord(t *testing.T) {
	shared := func(w *world) { w.gate.kind = kindShared }
	held := func(p Plan) Plan { p.Processes[0].Strategy, p.Processes[0].Hold = Hold, 10*time.Second; return p }
	rolls := func(p Plan) Plan { p.Processes[0].Strategy, p.Processes[0].Surge = Rolling, 1; return p }
	for name, tc := range map[string]struct {
		world func(*world)
		plan  func(Plan) Plan
		runs  int // workers that run when it is ready
		steps string
	}{
		"overlap": {runs: 2, steps: "resolve boot prove ready cutover settle probation retire"},
		"shared": {
			world: shared, runs: 1, steps: "resolve preflight ready boot prove cutover settle probation retire",
		},
		"hold": {
			plan: held, runs: 1,
			steps: "resolve preflight ready quiesce hold drain preflight cutover prove probation retire",
		},
		"rolling": {plan: rolls, runs: 1, steps: "resolve preflight ready roll cutover probation retire"},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{answerAfter: time.Second}
				w.plan = tc.plan
				if tc.world != nil {
					tc.world(w)
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				change, ended := prepared(t.Context(), t, s, Request{Kind: Switch, Release: "r2"})
				time.Sleep(50 * time.Second)
				synctest.Wait()
				st := s.Status()
				if st.Release != "r1" || st.Changing == nil || st.Changing.Step != stepReady || w.running["web"] != tc.runs {
					t.Errorf("ready: %s is live, changing %+v, %d workers run", st.Release, st.Changing, w.running["web"])
				}
				if err := s.Go(change); err != nil {
					t.Error(err)
				}
				out := <-ended
				want(t, s, out, Done, "r2")
				if got := stepNames(out); got != tc.steps {
					t.Errorf("steps: %s", got)
				}
			})
		})
	}
}

func TestAWarmRollbackIsReadyAtOnceAndTurnsAtTheWord(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan { p.Standby = 30 * time.Second; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		began := time.Now()
		change, ended := prepared(t.Context(), t, s, Request{Kind: Rollback})
		if took := time.Since(began); took != 0 {
			t.Errorf("ready after %s", took)
		}
		time.Sleep(50 * time.Second) // longer than it would be kept warm
		if err := s.Go(change); err != nil {
			t.Error(err)
		}
		want(t, s, <-ended, Done, "r1")
		if len(w.procs) != 2 {
			t.Errorf("%d workers were started", len(w.procs))
		}
	})
}

func TestAPreparedChangeWithNothingToDoWaitsToo(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		told := 0
		w.options = func(o *Options) { o.Tell = func(Outcome) { told++ } }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		told = 0
		change, ended := prepared(t.Context(), t, s, Request{Kind: Switch, Release: "r1"})
		if err := s.Go(change); err != nil {
			t.Error(err)
		}
		if out := <-ended; out.Result != Done || out.Changed {
			t.Errorf("after the word: %+v", out)
		}
		ctx, hangUp := context.WithCancel(t.Context())
		_, ended = prepared(ctx, t, s, Request{Kind: Switch, Release: "r1"})
		hangUp()
		if out := <-ended; out.Result != Aborted || out.Changed {
			t.Errorf("after a hang-up: %+v", out)
		}
		if told != 0 || len(w.records) != 2 {
			t.Errorf("%d messages, %d records", told, len(w.records))
		}
	})
}

func TestWhatEndsThePreparationLeavesTheSiteAsItWas(t *testing.T) {
	for name, tc := range map[string]struct {
		how     behaviour
		standby bool // the change goes to a generation that is kept warm
		ends    func(t *testing.T, s *Supervisor, w *world, hangUp func())
		after   time.Duration
		says    string
	}{
		"the limit": {after: time.Minute, says: `ready: no "go" within 1 min`},
		"a client that is gone": {
			ends: func(_ *testing.T, _ *Supervisor, _ *world, hangUp func()) { hangUp() },
			says: "ready: the client hung up before the cutover",
		},
		"a worker that dies": {
			how: behaviour{exitAfter: 10*time.Second + 100*time.Millisecond}, after: 10 * time.Second, says: "ready: web.0 ended after 10.1 s",
		},
		"a worker that is unwell": {
			how: behaviour{answer: badFrom(12)}, after: 12 * time.Second, says: "ready: web: ",
		},
		"a warm worker that dies": {
			standby: true,
			ends: func(_ *testing.T, _ *Supervisor, w *world, _ func()) {
				w.procs[0].die(worker.Exit{Known: true, Code: 3})
			},
			says: "ready: web", // its death, or a probe that is refused
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, tc.how
				req, live := Request{Kind: Switch, Release: "r2"}, "r1"
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				w.plan = withStandby
				switchTo(t, s, "r1")
				if tc.standby {
					switchTo(t, s, "r2")
					req, live = Request{Kind: Rollback}, "r2"
				}
				ctx, hangUp := context.WithCancel(t.Context())
				defer hangUp()
				began := time.Now()
				change, ended := prepared(ctx, t, s, req)
				if tc.ends != nil {
					tc.ends(t, s, w, hangUp)
				}
				out := <-ended
				want(t, s, out, Aborted, live)
				if !strings.HasPrefix(out.Error, tc.says) || time.Since(began).Truncate(time.Second) > tc.after+2*time.Second {
					t.Errorf("after %s: %s", time.Since(began), out.Error)
				}
				var no *RefusedError
				if err := s.Go(change); !errors.As(err, &no) {
					t.Errorf("a word that comes too late: %v", err)
				}
				if w.pointed != live {
					t.Errorf("current points to %s", w.pointed)
				}
			})
		})
	}
}

func TestTheWordIsForTheChangeThatItNames(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		var no *RefusedError
		if err := s.Go(""); !errors.As(err, &no) {
			t.Errorf("nothing waits: %v", err)
		}
		_, ended := prepared(t.Context(), t, s, Request{Kind: Switch, Release: "r1"})
		for _, other := range []string{"", "another"} {
			if err := s.Go(other); !errors.As(err, &no) {
				t.Errorf("%q: %v", other, err)
			}
		}
		if out := <-ended; out.Result != Aborted {
			t.Errorf("it went on: %+v", out)
		}
	})
}

func TestARollbackEndsACanaryThatWaitsForTheWord(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		_, ended := prepared(t.Context(), t, s, Request{
			Kind: Switch, Release: "r2", Canary: &Canary{Steps: []int{500}, For: time.Second},
		})
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		if out := <-ended; out.Result != Aborted || !strings.Contains(out.Error, "rolled back by the test") {
			t.Errorf("%s: %s", out.Result, out.Error)
		}
		if got := w.gate.shares(); !slices.Equal(got, []int{500, 0}) {
			t.Errorf("shares %v", got)
		}
	})
}

func TestADaemonThatEndsWhileAChangeWaitsIsFollowedByOneWithTheOldRelease(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		_, ended := prepared(t.Context(), t, s, Request{Kind: Switch, Release: "r2"})
		leaveNow(s)
		<-ended
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Release != "r1" || st.Health != HealthOK || len(st.Generations) != 1 || w.running["web"] != 1 {
			t.Errorf("%d workers run: %+v", w.running["web"], st)
		}
	})
}

func TestAPreparationThatCannotBeIsRefused(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		for _, req := range []Request{
			{Kind: Restart, Process: "web", Prepare: time.Minute},
			{Kind: Switch, Release: "r1", Prepare: -time.Minute},
			{Kind: Switch, Release: "r1", Prepare: 25 * time.Hour},
			{Kind: Switch, Release: "r1", Prepare: time.Minute, Detach: true},
		} {
			var no *RefusedError
			if _, err := s.Change(t.Context(), req, func(Event) {}); !errors.As(err, &no) || !no.Usage {
				t.Errorf("%+v: %v", req, err)
			}
		}
	})
}
