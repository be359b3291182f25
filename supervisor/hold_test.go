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

// heldWorld has releases r1 and r2 of an app that must not run beside another release of itself.
func heldWorld(w *world) {
	w.releases["r1"], w.releases["r2"] = behaviour{
		stopTakes: time.Second, answerAfter: time.Second,
	}, behaviour{answerAfter: time.Second}
	w.plan = func(p Plan) Plan {
		p.Processes[0].Strategy, p.Processes[0].Hold = Hold, 10*time.Second
		p.Processes = append(p.Processes, background("beat", Single))
		p.Hooks = Hooks{Before: [][]string{{"migrate"}}, Timeout: time.Minute}
		return p
	}
}

// alone fails the test when processes of two releases that serve ran beside each other.
func alone(t *testing.T, w *world) {
	t.Helper()
	if w.peak["web"] != 1 || w.peak["beat"] != 1 {
		t.Errorf("at once ran %d web and %d beat", w.peak["web"], w.peak["beat"])
	}
}

// serving fails the test unless all of that release runs, alone, and the gate leads to it.
func serving(t *testing.T, w *world, s *Supervisor, release string) {
	t.Helper()
	synctest.Wait()
	st := s.Status()
	if st.Release != release || st.Health != HealthOK || len(st.Generations) != 1 || st.Changing != nil {
		t.Errorf("status %+v", st)
	}
	for _, wk := range st.Generations[0].Workers {
		if wk.State != string(InstanceReady) {
			t.Errorf("%s is %s", wk.Process, wk.State)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running["web"] != 1 || w.running["beat"] != 1 {
		t.Errorf("running: %v", w.running)
	}
	if len(w.gate.staged) != 1 || !w.gate.staged[w.gate.live] {
		t.Errorf("listeners %v, live %d", w.gate.staged, w.gate.live)
	}
}

func TestAHeldSwitchNeverRunsTwoReleasesAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		heldWorld(w)
		ran := false
		w.hooks = func(context.Context, worker.Command) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if ran = true; len(w.procs) > 0 && w.running["web"]+w.running["beat"] != 0 {
				t.Errorf("during the migration ran %v", w.running)
			}
			return nil
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		ran = false
		out := switchTo(t, s, "r2")
		want(t, s, out, Done, "r2")
		if !ran || len(out.Warnings) > 0 || out.Previous != "r1" {
			t.Errorf("ran %v, outcome %+v", ran, out)
		}
		var names []string
		for _, st := range out.Steps {
			names = append(names, st.Name)
		}
		if got := strings.Join(names, " "); got != "resolve quiesce hold drain before preflight cutover prove follow probation retire" {
			t.Errorf("steps: %s", got)
		}
		alone(t, w)
		serving(t, w, s, "r2")
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		alone(t, w)
		serving(t, w, s, "r1")
	})
}

func TestAHeldSwitchThatFailsBringsTheOldReleaseBack(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(w *world)
		says   string
		result Result
	}{
		"in the migration": {func(w *world) {
			w.hooks = func(context.Context, worker.Command) error { return errors.New("no such column") }
		}, "no such column", Aborted},
		"because the old one does not finish in time": {func(w *world) {
			for _, p := range w.procs {
				if p.spec.Process == "web" {
					p.how.stopTakes = 20 * time.Second
				}
			}
		}, "within hold", Aborted},
		"in its preflight": {
			func(w *world) { w.releases["r2"] = behaviour{exitAfter: time.Millisecond} }, "exit code 3", Aborted,
		},
		"in its probation": {
			func(w *world) { w.releases["r2"] = behaviour{exitAfter: 5870 * time.Millisecond} }, "exit code 3",
			Reverted,
		},
		"in its health": {func(w *world) { w.releases["r2"] = behaviour{answer: badFrom(12)} }, "503", Reverted},
		"in the process that is there once": {func(w *world) {
			w.releases["r2"] = behaviour{only: "beat", exitAfter: 500 * time.Millisecond}
		}, "beat.0 ended", Reverted},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				heldWorld(w)
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				c.spoil(w)
				out := switchTo(t, s, "r2")
				want(t, s, out, c.result, "r1")
				if !strings.Contains(out.Error, c.says) {
					t.Errorf("error %q", out.Error)
				}
				time.Sleep(time.Minute)
				serving(t, w, s, "r1")
				if w.pointed != "r1" {
					t.Errorf("current points to %s", w.pointed)
				}
			})
		})
	}
}

func badFrom(from int) func(int) int {
	return func(n int) int {
		if n < from {
			return 200
		}
		return 503
	}
}

func TestAHeldSwitchWhoseClientHangsUpBringsTheOldReleaseBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		heldWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		ctx, hangUp := context.WithCancel(context.Background())
		w.hooks = func(ctx context.Context, _ worker.Command) error {
			hangUp()
			<-ctx.Done()
			return context.Cause(ctx)
		}
		out, err := s.Change(ctx, Request{Kind: Switch, Release: "r2"}, func(Event) {})
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, out, Aborted, "r1")
		serving(t, w, s, "r1")
		alone(t, w)
	})
}

func TestAHoldThatLastsTooLongIsSaidAndGoesOn(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		heldWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.hooks = func(context.Context, worker.Command) error { time.Sleep(30 * time.Second); return nil }
		var told []string
		out, err := s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(ev Event) {
			told = append(told, ev.Detail)
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, out, Done, "r2")
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "longer than hold = 10s") {
			t.Errorf("warnings %q", out.Warnings)
		}
		if !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "wait for longer than hold") }) {
			t.Errorf("the client was told %q", told)
		}
	})
}

func TestADaemonThatEndsDuringAHoldIsFollowedByOneWithTheOldRelease(t *testing.T) {
	for _, at := range []string{
		"after quiesce", "before drain", "after drain", "before before", "after preflight", "before cutover",
	} {
		t.Run(at, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				heldWorld(w)
				serves(t, w, leavesAt(t, w, at), "r1")
			})
		})
	}
	for _, at := range []string{"after cutover", "before prove", "after prove", "before probation"} {
		t.Run(at, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				heldWorld(w)
				serves(t, w, leavesAt(t, w, at), "r2")
			})
		})
	}
}

// leavesAt has a daemon end at a point of a switch from r1 to r2, as kill -9 would: what it was
// doing is in the state file, and the listeners are in systemd's store.
func leavesAt(t *testing.T, w *world, point string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, stop := w.supervisor(dir)
	switchTo(t, s, "r1")
	s.opt.Fault = func(at string) {
		if at == "switch: "+point {
			leaveNow(s)
		}
	}
	_, _ = s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
	stop()
	if !s.Left() {
		t.Fatalf("the switch did not pass %q", point)
	}
	return dir
}

// leaveNow ends a daemon on the spot.
func leaveNow(s *Supervisor) {
	_ = s.do(func() { s.endProofs(); s.leave() })
}

// endProofs ends the goroutines that a daemon which leaves takes along when its process ends.
func (s *Supervisor) endProofs() {
	for _, g := range s.generations {
		for _, p := range g.proofs {
			p.end()
		}
	}
}

// serves starts the next daemon and fails the test unless that release serves in the end.
func serves(t *testing.T, w *world, dir, release string) {
	t.Helper()
	s, stop := w.supervisor(dir)
	defer stop()
	time.Sleep(2 * time.Minute)
	serving(t, w, s, release)
}
