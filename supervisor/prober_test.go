package supervisor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"superctl/supervisor/worker"
)

func always(status int) func(int) int { return func(int) int { return status } }

func TestAReleaseThatAnswersAndKeepsFailingIsRefused(t *testing.T) {
	for name, plan := range map[string]func(Plan, *world) Plan{
		"on its own listener": func(p Plan, _ *world) Plan { return p },
		"in a preflight":      func(p Plan, w *world) Plan { w.gate.kind = "shared"; return p },
		"in a roll": func(p Plan, _ *world) Plan {
			p.Processes[0].Strategy, p.Processes[0].Instances, p.Processes[0].Surge = Rolling, 2, 1
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				w.releases["r2"] = behaviour{answerAfter: 20 * time.Second, answer: always(500)}
				w.plan = func(p Plan) Plan { return plan(p, w) }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				began := time.Now()
				out := switchTo(t, s, "r2")
				want(t, s, out, Aborted, "r1")
				// 20 s until its first answer, and unhealthy_after.
				if took := time.Since(began); took < 30*time.Second || took > 31*time.Second {
					t.Errorf("refused after %s", took)
				}
				const says = "web.0 has failed its health check for 10s since its first answer (health.unhealthy_after): GET /: 500 Internal"
				if !strings.Contains(out.Error, says) || len(out.Log) == 0 {
					t.Errorf("%q, log %q", out.Error, out.Log)
				}
			})
		})
	}
}

func TestAReleaseThatHasNotAnsweredHasItsStartTimeout(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.releases["slow"] = behaviour{answerAfter: 50 * time.Second}
		w.releases["never"] = behaviour{answerAfter: time.Hour}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, switchTo(t, s, "slow"), Done, "slow")
		out := switchTo(t, s, "never")
		want(t, s, out, Aborted, "slow")
		if !strings.Contains(out.Error, "was not ready within 1m0s: GET /: connection refused") {
			t.Error(out.Error)
		}
	})
}

func TestAReleaseThatWarmsUpInTimeGoesLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		began := time.Now()
		w.releases["warm"] = behaviour{answer: func(int) int {
			return map[bool]int{true: 503, false: 200}[time.Since(began) < 9*time.Second]
		}}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "warm"), Done, "warm")
	})
}

func TestAReadyServerIsProvedWithinMilliseconds(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		out := switchTo(t, s, "r1")
		want(t, s, out, Done, "r1")
		i := slices.IndexFunc(out.Steps, func(st Step) bool { return st.Name == stepProve })
		if took := out.Steps[i].Seconds; took != 2*nextPoll.Seconds() || w.procs[0].asked < 3 {
			t.Errorf("proved after %f s and %d checks", took, w.procs[0].asked)
		}
	})
}

func TestAServerIsNotAskedMoreOftenThanItsInterval(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answer: always(503)}
		w.plan = func(p Plan) Plan { p.Processes[0].Health.UnhealthyAfter = 0; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		// 60 s of start timeout at 4 a second, and a few more at its beginning.
		if n := w.procs[0].asked; n < 240 || n > 250 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestALiveWorkerThatAnswersBadlyIsNotStartedAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.releases["r1"] = behaviour{answer: always(500)}
		w.procs[0].die(worker.Exit{Known: true, Code: 3})
		time.Sleep(50 * time.Second)
		if len(w.procs) != 2 || !w.procs[1].alive() {
			t.Errorf("%d workers were started", len(w.procs))
		}
	})
}

func TestARollShowsWhyItWaits(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{answerAfter: 20 * time.Second}
		w.plan = func(p Plan) Plan {
			p.Processes[0].Strategy, p.Processes[0].Instances, p.Processes[0].Surge = Rolling, 2, 1
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		var seen []string
		if _, err := s.Change(context.Background(), Request{Kind: Switch, Release: "r2", Who: "x"}, func(ev Event) {
			if ev.Type == "progress" && ev.Step == stepRoll {
				seen = append(seen, ev.Detail)
			}
		}); err != nil {
			t.Fatal(err)
		}
		wanted := []string{
			"web.0: GET /: connection refused", "1 of 2 workers replaced", "web.1: GET /: connection refused",
			"2 of 2 workers replaced",
		}
		if !slices.Equal(seen, wanted) {
			t.Errorf("%q", seen)
		}
	})
}

func TestAStepThatHasALimitBeginsWithIt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		limits := make(map[string]float64)
		if _, err := s.Change(context.Background(), Request{Kind: Switch, Release: "r1", Who: "x"}, func(ev Event) {
			if ev.Type == "begin" {
				limits[ev.Step] = ev.Limit
			}
		}); err != nil {
			t.Fatal(err)
		}
		if limits[stepProve] != 60 || limits[stepProbation] != 10 || limits[stepBoot] != 0 {
			t.Errorf("%v", limits)
		}
	})
}
