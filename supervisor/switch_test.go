package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
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

// The directory of the releases has moved, and its old path is a link.
func TestAReleaseThatHasMovedIsNotItsOwnPrevious(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		at := "/data"
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		stop()
		w.options = func(o *Options) {
			resolve := o.Resolve
			o.Resolve = func(ctx context.Context, target Target) (Plan, error) {
				p, err := resolve(ctx, target)
				p.Release.Path = at + p.Release.Path
				return p, err
			}
		}
		s, stop = w.supervisor(dir)
		defer stop()
		if st := s.Status(); st.Release != "r2" || st.Previous != "r1" {
			t.Errorf("after a start, live is %s, previous %s", st.Release, st.Previous)
		}
		at = "/moved"
		switchTo(t, s, "r2")
		if st := s.Status(); st.Release != "r2" || st.Previous != "r1" {
			t.Errorf("after a switch, live is %s, previous %s", st.Release, st.Previous)
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
