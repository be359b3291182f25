package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/health"
	"superctl/supervisor/worker"
)

const zapLevel = zap.WarnLevel

func TestAReleaseThatProvesItselfGoesLiveAndTheOldOneDrains(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: 2 * time.Second}
		w.releases["r2"] = behaviour{answerAfter: 2 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		out := switchTo(t, s, "r2")
		want(t, s, out, Done, "r2")
		if !out.Changed || out.Previous != "r1" || out.Generation != 2 {
			t.Errorf("outcome %+v", out)
		}
		synctest.Wait()
		if w.procs[0].alive() || w.procs[0].killed {
			t.Error("the old worker was not stopped gently")
		}
		if w.pointed != "r2" {
			t.Errorf("current points to %s", w.pointed)
		}
		var names []string
		for _, st := range out.Steps {
			names = append(names, st.Name)
		}
		if got := strings.Join(names, " "); got != "resolve boot prove cutover settle probation retire" {
			t.Errorf("steps: %s", got)
		}
	})
}

// Only health checks have come to it: a worker of the live release must not be started for them.
func TestHealthChecksThatARefusedReleaseHasNotAcceptedAreForgotten(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["bad"] = behaviour{}, behaviour{exitAfter: time.Millisecond}
		w.gate.queues = func(gen int) int { return gen - 1 }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, switchTo(t, s, "bad"), Aborted, "r1")
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.procs) != 2 {
			t.Errorf("%d workers were started, want one of each release", len(w.procs))
		}
	})
}

func TestABrokenReleaseIsRefusedAndTheLiveOneIsUntouched(t *testing.T) {
	broken := map[string]struct {
		how  behaviour
		says string
	}{
		"exits at once":   {behaviour{exitAfter: time.Millisecond}, "exit code 3"},
		"exits after 3 s": {behaviour{exitAfter: 3 * time.Second, answerAfter: time.Hour}, "exit code 3"},
		"never answers":   {behaviour{answerAfter: time.Hour}, "was not ready within 1m0s"},
		"answers 500":     {behaviour{answer: func(int) int { return 500 }}, "500"},
		"answers only sometimes": {
			behaviour{answer: func(n int) int { return 200 + 300*((n+1)%2) }}, "only sometimes",
		},
		"cannot be executed":       {behaviour{startErr: os.ErrPermission}, "permission denied"},
		"does not heed its signal": {behaviour{answerAfter: time.Hour, ignoreStop: true}, "was not ready"},
	}
	for name, b := range broken {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["bad"] = behaviour{}, b.how
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				out := switchTo(t, s, "bad")
				want(t, s, out, Aborted, "r1")
				if !strings.Contains(out.Error, b.says) {
					t.Errorf("error %q does not say %q", out.Error, b.says)
				}
				if b.how.startErr == nil && len(out.Log) == 0 {
					t.Error("the outcome has no log lines")
				}
				if !slices.Equal(w.gate.turns, []int{1}) {
					t.Errorf("the gate turned: %v", w.gate.turns)
				}
				if !w.procs[0].alive() || w.procs[0].stopped {
					t.Error("the live worker was touched")
				}
				if w.running["web"] != 1 {
					t.Errorf("%d workers run", w.running["web"])
				}
				if w.pointed != "r1" {
					t.Errorf("current points to %s", w.pointed)
				}
			})
		})
	}
}

func TestAReleaseThatFailsItsProbationIsReverted(t *testing.T) {
	failing := map[string]behaviour{
		"its worker dies":      {exitAfter: 4 * time.Second},
		"its answers turn bad": {answer: func(n int) int { return map[bool]int{true: 200, false: 503}[n < 12] }},
	}
	for name, how := range failing {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["bad"] = behaviour{}, how
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				out := switchTo(t, s, "bad")
				want(t, s, out, Reverted, "r1")
				if w.pointed != "r1" {
					t.Errorf("current points to %s", w.pointed)
				}
				if !slices.Equal(w.gate.turns, []int{1, 2, 1}) {
					t.Errorf("gate turns %v", w.gate.turns)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if st := s.Status(); len(st.Generations) != 1 || st.Generations[0].State != string(Live) ||
					st.Health != HealthOK {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

func TestTheFirstReleaseThatFailsItsProbationLeavesNothingLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["bad"] = behaviour{exitAfter: 4 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "bad"), Reverted, "")
	})
}

func TestASwitchToTheLiveReleaseChangesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchTo(t, s, "r1")
		want(t, s, out, Done, "r1")
		if out.Changed || len(w.procs) != 1 || len(w.records) != 1 {
			t.Errorf("changed %v, %d workers started, %d records", out.Changed, len(w.procs), len(w.records))
		}
	})
}

func TestASecondChangeIsRefusedAndNamesTheFirst(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: 20 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		first := make(chan *Outcome)
		go func() { first <- switchTo(t, s, "r1") }()
		synctest.Wait()
		_, err := s.Change(context.Background(), Request{Kind: Reload}, func(Event) {})
		var busy *BusyError
		if !errors.As(err, &busy) || busy.Changing.Who != "the test" || busy.Changing.Step != stepProve ||
			busy.Changing.Release != "r1" {
			t.Errorf("the second change: %v", err)
		}
		want(t, s, <-first, Done, "r1")
	})
}

func TestAClientThatHangsUpAbortsItsSwitchBeforeTheCutoverUnlessItIsDetached(t *testing.T) {
	for _, tc := range []struct {
		after  time.Duration
		detach bool
		result Result
		live   string
	}{{2 * time.Second, false, Aborted, "r1"}, {8 * time.Second, false, Done, "r2"}, {
		2 * time.Second, true, Done, "r2",
	}} {
		virtual(t, func(t *testing.T, w *world) {
			w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{answerAfter: 5 * time.Second}
			s, stop := w.supervisor(t.TempDir())
			defer stop()
			switchTo(t, s, "r1")
			ctx, hangUp := context.WithTimeout(context.Background(), tc.after)
			defer hangUp()
			out, err := s.Change(ctx, Request{Kind: Switch, Release: "r2", Detach: tc.detach}, func(Event) {})
			if err != nil {
				t.Fatal(err)
			}
			want(t, s, out, tc.result, tc.live)
		})
	}
}

func withStandby(p Plan) Plan { p.Standby = 5 * time.Minute; return p }

func TestARollbackToAWarmGenerationStartsNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{answerAfter: time.Second}, behaviour{answerAfter: time.Second}
		w.plan = withStandby
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		began := time.Now()
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if len(w.procs) != 2 || time.Since(began) != 0 {
			t.Errorf("%d workers started, %s", len(w.procs), time.Since(began))
		}
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r2")
	})
}

func TestAWarmGenerationIsLetGoWhenItsTimeIsOver(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = withStandby
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if st := s.Status(); len(st.Generations) != 1 {
			t.Errorf("%d generations", len(st.Generations))
		}
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		if len(w.procs) != 3 {
			t.Errorf("%d workers started", len(w.procs))
		}
	})
}

func TestARollbackEndsAProbation(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		first := make(chan *Outcome)
		go func() { first <- switchTo(t, s, "r2") }()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if !out.Changed || out.Release != "r1" {
			t.Errorf("rollback: %+v", out)
		}
		if sw := <-first; sw.Result != Reverted || !strings.Contains(sw.Error, "rolled back by the test") {
			t.Errorf("switch: %s %s", sw.Result, sw.Error)
		}
	})
}

// The workers before a restart are of the same release: to go back to them would be no rollback.
func TestARollbackInTheProbationOfARestartGoesToTheReleaseBefore(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		first := make(chan *Outcome)
		go func() { first <- change1(t, s, Request{Kind: Restart, Process: "web"}) }()
		at := func() string {
			if c := s.Status().Changing; c != nil {
				return c.Step
			}
			return ""
		}
		for tries := 0; at() != stepProbation && tries < 1000; tries++ {
			time.Sleep(10 * time.Millisecond)
		}
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if out.Kind != string(Rollback) || out.Release != "r1" || out.Previous != "r2" {
			t.Errorf("rollback: %+v", out)
		}
		if re := <-first; re.Result != Reverted || !strings.Contains(re.Error, "rolled back by the test") {
			t.Errorf("restart: %s %s", re.Result, re.Error)
		}
	})
}

func withBeat(p Plan) Plan {
	p.Processes = append(p.Processes, background("worker", Overlap), background("beat", Single))
	return p
}

func TestTwoWorkersOfASingleProcessNeverRunAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{only: "beat", stopTakes: 5 * time.Second}
		w.releases["r2"] = behaviour{only: "web", exitAfter: 9 * time.Second} // in its probation: it goes back
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		want(t, s, switchTo(t, s, "r2"), Reverted, "r1")
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "beat"}), Done, "r1")
		if w.peak["beat"] != 1 {
			t.Errorf("%d beats ran at once", w.peak["beat"])
		}
		if w.running["beat"] != 1 || w.running["worker"] != 1 {
			t.Errorf("running: %v", w.running)
		}
	})
}

func TestABackgroundProcessThatFailsTakesTheWebBackWithIt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{only: "beat", exitAfter: time.Millisecond}
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchTo(t, s, "r2")
		want(t, s, out, Reverted, "r1")
		if w.running["beat"] != 1 || w.peak["beat"] != 1 {
			t.Errorf("%d beats run, at most %d", w.running["beat"], w.peak["beat"])
		}
	})
}

func TestAWorkerThatDiesIsStartedAgainFromItsOwnRelease(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.procs[0].die(worker.Exit{})
		synctest.Wait()
		if len(w.procs) != 2 || w.procs[1].spec.Release != "r1" || w.procs[1].spec.Generation != 1 {
			t.Fatalf("%d workers started", len(w.procs))
		}
	})
}

func TestACrashLoopIsReportedWithItsReasonAndBacksOff(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.releases["r1"] = behaviour{exitAfter: time.Millisecond}
		w.procs[0].die(worker.Exit{})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Health != HealthDown || !strings.Contains(st.Reason, "exit code 3") {
			t.Errorf("health %s: %s", st.Health, st.Reason)
		}
		if n := len(w.procs); n < 20 || n > 40 {
			t.Errorf("%d starts in ten minutes", n)
		}
	})
}

func TestAWorkerThatDoesNotFinishInItsDrainTimeIsKilledAndTold(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{stopTakes: time.Hour}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(time.Minute)
		synctest.Wait()
		if !w.procs[0].killed {
			t.Error("the old worker still runs")
		}
		last := w.records[len(w.records)-1]
		if last.Kind != "drain" || len(last.Warnings) != 1 ||
			!strings.Contains(last.Warnings[0], "connections cut: 2") {
			t.Errorf("the history says %+v", last)
		}
	})
}

func TestBehindASharedGateAReleaseProvesItselfOnAPrivateOneFirst(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.gate.kind = "shared"
		w.releases["r1"], w.releases["r2"], w.releases["bad"] = behaviour{}, behaviour{}, behaviour{answer: func(int) int { return 500 }}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		want(t, s, switchTo(t, s, "bad"), Aborted, "r1")
		if len(w.gate.staged) != 1 {
			t.Errorf("the broken release was started on the shared socket: %v", w.gate.staged)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		for _, p := range w.gate.private {
			if len(p.staged) != 0 {
				t.Error("a private listener is left over")
			}
		}
	})
}

func TestARestartOfOneProcessLeavesTheOthersAlone(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "web"}), Done, "r1")
		synctest.Wait()
		started := map[string]int{}
		for _, p := range w.procs {
			started[p.spec.Process]++
		}
		if started["web"] != 2 || started["worker"] != 1 || started["beat"] != 1 {
			t.Errorf("started: %v", started)
		}
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "worker"}), Done, "r1")
		if len(s.Status().Generations) != 1 {
			t.Errorf("generations: %+v", s.Status().Generations)
		}
	})
}

// A step that only reads or waits, or saves the new generation itself, does not wait for the disk.
func TestAStepThatChangesSomethingIsDurableBeforeItBegins(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		var seen []string
		s.opt.Fault = func(point string) {
			step, before := strings.CutPrefix(point, "switch: before ")
			if !before {
				return
			}
			var st state
			data, err := os.ReadFile(filepath.Join(dir, "state.json"))
			if err != nil || json.Unmarshal(data, &st) != nil {
				t.Errorf("%s: %v", point, err)
			}
			seen = append(seen, step)
			if !savesItself(step) && (st.Change == nil || st.Change.Step != step) {
				t.Errorf("%s: the file says %+v", point, st.Change)
			}
		}
		switchTo(t, s, "r2")
		if len(seen) != 7 {
			t.Errorf("steps: %v", seen)
		}
	})
}

func TestTheNextDaemonServesWhatWasLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		st := s.Status()
		if st.Release != "r2" || st.Previous != "r1" || st.Generation != 3 {
			t.Errorf("status %+v", st)
		}
	})
}

func TestAStateFileOfAnotherDaemonIsRefusedAndKept(t *testing.T) {
	for name, data := range map[string]string{
		"another app's":   `{"version": 1, "app": "blog"}`,
		"a newer version": `{"version": 99, "app": "shop"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "state.json")
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			err := New(Options{App: "shop", State: dir}).Run(context.Background())
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Run: %v", err)
			}
			if got, _ := os.ReadFile(path); string(got) != data {
				t.Errorf("the file was changed to %q", got)
			}
		})
	}
}

func TestACheckThatTheEndOfTheProbationCutsOffIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// A dialer that honours the deadline of its context fails by its own clock, before the
		// context has ended.
		early := beforeItsEnd{ctx}
		asks := prober{policy: health.Policy{
			Check: health.Check{Path: "/", Timeout: time.Minute}, Interval: time.Second,
		}}
		asks.subject.Listeners = []health.Listener{{Name: "web", Dial: cutOff}}
		asks.ask(early, asks.steadily, func(r health.Result) bool {
			t.Errorf("it was taken for an answer: %+v", r)
			return false
		})
	})
}

// beforeItsEnd is a context whose deadline is there, and whose end is a moment late.
type beforeItsEnd struct{ context.Context } //nolint:containedctx // it is one

func (beforeItsEnd) Err() error { return nil }

// cutOff is a dialer whose connections fail at the deadline.
func cutOff(ctx context.Context) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	time.Sleep(time.Until(deadline))
	return nil, os.ErrDeadlineExceeded
}

func TestAWarmGenerationWhoseTimeEndsDuringAChangeIsLetGoAfterIt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.releases["never"] = behaviour{answerAfter: time.Hour}
		w.plan = func(p Plan) Plan { p.Standby = 30 * time.Second; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		want(t, s, switchTo(t, s, "never"), Aborted, "r2") // it takes a minute
		time.Sleep(time.Second)
		synctest.Wait()
		if st := s.Status(); len(st.Generations) != 1 {
			t.Errorf("generations %+v", st.Generations)
		}
	})
}

func TestReleasesStayWhereTheyAreUntilEverybodyCanSeeWhichOneIsChosen(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		frozen, seen := false, []string{}
		var s *Supervisor
		w.options = func(o *Options) {
			o.Freeze = func(context.Context) (func(), error) {
				frozen = true
				return func() {
					frozen = false
					if s == nil {
						return // the daemon starts, with nothing
					}
					if ch := s.Status().Changing; ch != nil {
						seen = append(seen, ch.Release)
					}
				}, nil
			}
			o.Resolve = func(ctx context.Context, target Target) (Plan, error) {
				if !frozen && !target.Starting() {
					t.Error("a release is chosen while another one may be removed")
				}
				if target.Word == "latest" {
					target.Word = "r2"
				}
				return w.resolve(ctx, target)
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "latest")
		if want := []string{"r1", "r2"}; !slices.Equal(seen, want) || frozen {
			t.Errorf("%v, frozen: %t", seen, frozen)
		}
	})
}
