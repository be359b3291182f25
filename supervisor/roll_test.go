package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rollingWorld has releases of an app of four instances, of which one at a time is replaced, and of
// two background workers.
func rollingWorld(w *world) {
	w.releases["r1"], w.releases["r2"] = behaviour{
		answerAfter: time.Second, stopTakes: time.Second,
	}, behaviour{answerAfter: time.Second}
	w.plan = func(p Plan) Plan {
		p.Processes[0].Strategy, p.Processes[0].Surge, p.Processes[0].Instances = Rolling, 1, 4
		p.Processes = append(p.Processes, background("worker", Rolling))
		p.Processes[1].Instances = 2
		return p
	}
}

// whole fails the test unless all of that release runs, alone, and connections are spread over its
// four instances.
func whole(t *testing.T, w *world, s *Supervisor, release string) {
	t.Helper()
	synctest.Wait()
	st := s.Status()
	if st.Release != release || st.Health != HealthOK || len(st.Generations) != 1 || st.Changing != nil {
		t.Fatalf("status %+v", st)
	}
	var numbers []int
	for _, in := range s.live.instances {
		if in.state != InstanceReady {
			t.Errorf("%s is %s", in, in.state)
		}
		if l := in.own["web"]; l.held() {
			numbers = append(numbers, l.number)
		}
	}
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if w.running["web"] != 4 || w.running["worker"] != 2 {
		t.Errorf("running: %v", w.running)
	}
	slices.Sort(numbers)
	if len(w.gate.staged) != 4 || !slices.Equal(w.gate.spread, numbers) {
		t.Errorf("listeners %v, spread over %v, and the instances have %v", w.gate.staged, w.gate.spread, numbers)
	}
}

func TestARollReplacesOneInstanceAfterTheOtherAndNeverHasMore(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		rollingWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		whole(t, w, s, "r1")
		out := switchTo(t, s, "r2")
		want(t, s, out, Done, "r2")
		whole(t, w, s, "r2")
		var names []string
		for _, st := range out.Steps {
			names = append(names, st.Name)
		}
		if got := strings.Join(names, " "); got != "resolve roll cutover follow probation retire" ||
			len(out.Warnings) > 0 {
			t.Errorf("steps: %s, warnings %q", got, out.Warnings)
		}
		for _, kind := range []Kind{Rollback, Reload} {
			if out := change1(t, s, Request{Kind: kind}); out.Result != Done {
				t.Errorf("%+v", out)
			}
			whole(t, w, s, "r1")
		}
		if out := change1(t, s, Request{Kind: Restart, Process: "web"}); out.Result != Done {
			t.Errorf("%+v", out)
		}
		whole(t, w, s, "r1")
		if w.peak["web"] != 5 || w.peak["worker"] != 3 {
			t.Errorf("at once ran %v", w.peak)
		}
	})
}

// nth has the nth worker of a release, from 1, act as how says.
func nth(w *world, release string, n int, how behaviour) {
	started := 0
	w.each = func(name, process string, good behaviour) behaviour {
		if name != release || process != "web" {
			return good
		}
		if started++; started == n {
			return how
		}
		return good
	}
}

func TestARollThatFailsGoesBack(t *testing.T) {
	for name, c := range map[string]struct {
		at     int
		how    behaviour
		result Result
	}{
		"in its first instance":              {1, behaviour{exitAfter: time.Millisecond}, Aborted},
		"in its last instance":               {4, behaviour{exitAfter: time.Millisecond}, Aborted},
		"in an instance that answers badly":  {3, behaviour{answer: badFrom(3)}, Aborted},
		"in one that has had connections":    {1, behaviour{exitAfter: 4 * time.Second}, Aborted},
		"in its probation, by a death":       {2, behaviour{exitAfter: 14 * time.Second}, Reverted},
		"in its probation, by a bad answer":  {2, behaviour{answer: badFrom(8)}, Reverted},
		"in an instance that does not start": {4, behaviour{answerAfter: time.Hour}, Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				rollingWorld(w)
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				nth(w, "r2", c.at, c.how)
				want(t, s, switchTo(t, s, "r2"), c.result, "r1")
				time.Sleep(time.Minute)
				whole(t, w, s, "r1")
				if w.peak["web"] != 5 {
					t.Errorf("at once ran %v", w.peak)
				}
				if w.pointed != "r1" {
					t.Errorf("current points to %s", w.pointed)
				}
			})
		})
	}
}

func TestARollWhoseClientHangsUpGoesBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		rollingWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		ctx, hangUp := context.WithCancel(context.Background())
		out, err := s.Change(ctx, Request{Kind: Switch, Release: "r2"}, func(ev Event) {
			if strings.HasPrefix(ev.Detail, "3 of 4") {
				hangUp()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, out, Aborted, "r1")
		whole(t, w, s, "r1")
	})
}

func TestAnInstanceThatDiesGetsNoConnectionsUntilItIsBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		rollingWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		whole(t, w, s, "r1")
		in := s.live.instances[2]
		_ = in.w.KillAll()
		synctest.Wait()
		w.gate.mu.Lock()
		if len(w.gate.spread) != 3 || slices.Contains(w.gate.spread, in.own["web"].number) {
			t.Errorf("spread over %v", w.gate.spread)
		}
		w.gate.mu.Unlock()
		time.Sleep(time.Minute)
		whole(t, w, s, "r1")
	})
}

func TestADaemonThatEndsDuringARollIsFollowedByOneWithAWholeRelease(t *testing.T) {
	for point, release := range map[string]string{
		"before roll": "r1", "after roll": "r1", "before cutover": "r1", "after cutover": "r2", "before follow": "r2",
		"before retire": "r2",
	} {
		t.Run(point, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				rollingWorld(w)
				dir := leavesAt(t, w, point)
				s, stop := w.supervisor(dir)
				defer stop()
				time.Sleep(5 * time.Minute)
				whole(t, w, s, release)
			})
		})
	}
}

// Of the release that is live nothing is left then, neither workers nor listeners: the other one
// serves until it is whole again.
func TestADaemonThatEndsAtTheEndOfARollIsFollowedByOneUnderWhichItsReleaseServesOn(t *testing.T) {
	for _, point := range []string{"after roll", "before cutover"} {
		for _, kept := range []bool{true, false} {
			virtual(t, func(t *testing.T, w *world) {
				rollingWorld(w)
				dir := leavesAt(t, w, point)
				if !kept {
					w.options = nil
				}
				w.stopping = func(p *fakeProc) {
					w.mu.Lock()
					defer w.mu.Unlock()
					if p.spec.Process == "web" && w.running["web"] != 5 {
						t.Errorf("%s: a worker of %s is stopped, and %d run", point, p.spec.Release, w.running["web"])
					}
				}
				s, stop := w.supervisor(dir)
				defer stop()
				time.Sleep(5 * time.Minute)
				whole(t, w, s, "r1")
				w.stopping = nil
			})
		}
	}
}

// The listener of one that has been replaced already is in no hands but the daemon's.
func TestADaemonThatEndsInTheMiddleOfARollIsFollowedByOneThatGoesBack(t *testing.T) {
	for _, kept := range []bool{true, false} {
		virtual(t, func(t *testing.T, w *world) {
			rollingWorld(w)
			dir := t.TempDir()
			s, stop := w.supervisor(dir)
			switchTo(t, s, "r1")
			nth(w, "r2", 3, behaviour{startErr: errors.New("the daemon is gone")})
			third := w.each
			w.each = func(release, process string, how behaviour) behaviour {
				if how = third(release, process, how); how.startErr != nil {
					leaveNow(s)
				}
				return how
			}
			_, _ = s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
			stop()
			if w.running["web"] != 4 {
				t.Fatalf("running %v", w.running)
			}
			if !kept {
				w.options = func(o *Options) { o.Handed, o.Inherited = nil, nil }
			}
			s, stop = w.supervisor(dir)
			defer stop()
			time.Sleep(5 * time.Minute)
			whole(t, w, s, "r1")
			if w.peak["web"] > 5 {
				t.Errorf("at once ran %v", w.peak)
			}
		})
	}
}

func TestInstancesOnOneListenerRollAfterAPreflight(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		rollingWorld(w)
		w.gate.kind = "shared"
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		nth(w, "r1", 5, behaviour{exitAfter: time.Millisecond}) // the first is the preflight's
		want(t, s, change1(t, s, Request{Kind: Rollback}), Aborted, "r2")
		synctest.Wait()
		st := s.Status()
		if w.running["web"] != 4 || w.peak["web"] != 5 || st.Health != HealthOK || len(st.Generations) != 1 {
			t.Errorf("running %v, at once %v, status %+v", w.running, w.peak, st)
		}
		if len(w.gate.sockets()) != 1 {
			t.Error("the roll that failed has closed the listener that it shared")
		}
	})
}
