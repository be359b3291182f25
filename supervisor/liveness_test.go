package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/health"
	"superctl/supervisor/worker"
)

// hangs is a worker that stops answering, or answers otherwise, from a moment on.
type hangs struct {
	mu     sync.Mutex
	status int
}

func (h *hangs) answer(int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

func (h *hangs) set(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

// checkedAlways has the web of every plan asked on and on.
func checkedAlways(w *world, more func(*Process)) {
	w.plan = func(p Plan) Plan {
		p.Processes[0].Health.Always = &health.Always{Interval: 10 * time.Second, Failures: 3}
		p.Processes[0].Surge = 1
		if more != nil {
			more(&p.Processes[0])
		}
		return p
	}
}

func replacedBy(w *world) (list []Outcome) {
	synctest.Wait()
	for _, o := range w.records {
		if o.Who == healthChecker {
			list = append(list, o)
		}
	}
	return list
}

func TestAHungWorkerIsReplacedByOneThatHasProvedItself(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		first := &hangs{status: 200}
		w.releases["r1"] = behaviour{}
		nth(w, "r1", 1, behaviour{answer: first.answer})
		checkedAlways(w, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Hour)
		if len(w.procs) != 1 {
			t.Fatalf("%d workers while all was well", len(w.procs))
		}
		first.set(0)
		// At most an interval until it is asked, then three rounds of 5 s with 10 s between.
		time.Sleep(46 * time.Second)
		synctest.Wait()
		if st := s.Status(); len(w.procs) != 2 || st.Release != "r1" || st.Generation != 2 {
			t.Fatalf("%d workers, status %+v", len(w.procs), st)
		}
		time.Sleep(time.Minute)
		list := replacedBy(w)
		if !w.procs[0].stopped || !w.procs[1].alive() || !slices.Equal(w.gate.turns, []int{1, 2}) {
			t.Errorf("the hung worker was stopped: %v, and the gate went to %v", w.procs[0].stopped, w.gate.turns)
		}
		if len(list) != 1 || list[0].Kind != string(Restart) || list[0].Result != Done || len(list[0].Warnings) == 0 ||
			!strings.Contains(
				list[0].Warnings[0],
				"web has not answered its health check 3 times in a row: GET /: no answer within 5s",
			) {
			t.Errorf("%+v", list)
		}
		if st := s.Status(); st.Health != HealthOK || len(st.Troubles) > 0 {
			t.Errorf("%s, %+v", st.Health, st.Troubles)
		}
	})
}

func TestABrokenDatabaseMakesNoStormOfRestarts(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		all := &hangs{status: 200}
		w.releases["r1"] = behaviour{answer: all.answer}
		checkedAlways(w, func(p *Process) { p.Instances = 4 })
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Minute)
		all.set(0)
		time.Sleep(6 * time.Hour)
		for i, p := range w.procs[:4] {
			if !p.alive() || p.stopped {
				t.Errorf("worker %d was stopped", i)
			}
		}
		if n := len(replacedBy(w)); n < 8 || n > 12 { // after 1, 2, 4, 8, 16, 32 and each 60 minutes
			t.Errorf("%d attempts in 6 hours", n)
		}
		if st := s.Status(); st.Health != HealthDown ||
			!strings.Contains(st.Reason, "web has not answered its health check") {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
		all.set(200)
		time.Sleep(2 * time.Hour)
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
	})
}

func TestAWorkerThatAnswersBadlyIsToldAndStays(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		one := &hangs{status: 200}
		w.releases["r1"] = behaviour{answer: one.answer}
		checkedAlways(w, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Minute)
		one.set(500)
		time.Sleep(time.Hour)
		if st := s.Status(); len(w.procs) != 1 || st.Health != HealthDegraded ||
			!strings.Contains(st.Reason, "web answers, and fails its health check: GET /: 500") {
			t.Errorf("%d workers, %s: %s", len(w.procs), st.Health, st.Reason)
		}
		one.set(200)
		time.Sleep(time.Minute)
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
	})
}

func TestHungInstancesAreReplacedOneAtATime(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		two := &hangs{status: 200}
		started := 0
		w.releases["r1"] = behaviour{}
		w.each = func(_, _ string, good behaviour) behaviour {
			if started++; started == 2 || started == 3 {
				good.answer = two.answer
			}
			good.stopTakes = 20 * time.Second
			return good
		}
		checkedAlways(w, func(p *Process) { p.Strategy, p.Instances = Rolling, 4 })
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Minute)
		stopping := 0
		w.stopping = func(p *fakeProc) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if stopping++; w.running["web"] != 4 {
				t.Errorf("%d run when worker %d is told to stop", w.running["web"], p.pid)
			}
		}
		two.set(0)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for i, p := range w.procs {
			if p.stopped != (i == 1 || i == 2) {
				t.Errorf("worker %d: stopped %v", i, p.stopped)
			}
		}
		if len(w.procs) != 6 || stopping != 2 || w.running["web"] != 4 {
			t.Errorf("%d workers were started, %d stopped, %d run", len(w.procs), stopping, w.running["web"])
		}
		w.stopping = nil
	})
}

func TestNothingIsReplacedDuringAChange(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		old := &hangs{status: 200}
		w.releases["r1"] = behaviour{answer: old.answer}
		w.releases["r2"] = behaviour{answerAfter: 58 * time.Second}
		checkedAlways(w, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Minute)
		old.set(0)
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		time.Sleep(10 * time.Minute)
		if list := replacedBy(w); len(list) > 0 || len(w.procs) != 2 {
			t.Errorf("%+v", list)
		}
	})
}

func TestWhatIsNotAskedForIsNotAsked(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		before := w.procs[0].asked
		time.Sleep(24 * time.Hour)
		if after := w.procs[0].asked; after != before {
			t.Errorf("asked %d times", after-before)
		}
	})
}

func TestOneOfSeveralBackgroundWorkersIsReplacedAndNotAllOfThem(t *testing.T) {
	for name, tc := range map[string]struct {
		fails    []string
		replaced int
	}{
		"one":  {[]string{"SUPERCTL_INSTANCE=1"}, 1},
		"none": {nil, 0},
		"all":  {[]string{"SUPERCTL_INSTANCE=0", "SUPERCTL_INSTANCE=1", "SUPERCTL_INSTANCE=2"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				w.plan = func(p Plan) Plan {
					b := background("worker", Overlap)
					b.Instances = 3
					b.Health = &health.Policy{
						Check: health.Check{
							Kind: health.Exec, Command: []string{"ping"}, Timeout: 5 * time.Second,
						}, Interval: 2 * time.Second, HealthyAfter: 1,
						Always: &health.Always{Interval: 10 * time.Second, Failures: 3},
					}
					p.Processes = append(p.Processes, b)
					return p
				}
				var mu sync.Mutex
				broken := false
				w.hooks = func(_ context.Context, c worker.Command) error {
					mu.Lock()
					defer mu.Unlock()
					if c.Args[0] != "ping" || !slices.Contains(c.Env, "SUPERCTL_PROCESS=worker") ||
						!slices.Contains(c.Env, "SUPERCTL_RELEASE=r1") {
						t.Errorf("it ran %+v", c)
					}
					if broken &&
						slices.ContainsFunc(tc.fails, func(e string) bool { return slices.Contains(c.Env, e) }) {
						return errors.New("exit code 69")
					}
					return nil
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				want(t, s, switchTo(t, s, "r1"), Done, "r1")
				time.Sleep(65 * time.Second) // between two checks, so that all workers see the same
				mu.Lock()
				broken = true
				mu.Unlock()
				time.Sleep(50 * time.Second)
				mu.Lock()
				broken = false
				mu.Unlock()
				time.Sleep(time.Minute)
				if n := len(replacedBy(w)); n != tc.replaced || len(w.procs) != 4+tc.replaced {
					t.Errorf("%d replaced, %d workers started", n, len(w.procs))
				}
			})
		})
	}
}

func TestABackgroundWorkerIsReadyWhenItsCommandPasses(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = func(p Plan) Plan {
			b := background("worker", Overlap)
			b.Health = &health.Policy{
				Check: health.Check{
					Kind: health.Exec, Command: []string{"ping"}, Timeout: 5 * time.Second,
				}, Interval: 2 * time.Second, HealthyAfter: 2,
			}
			p.Processes = append(p.Processes, b)
			return p
		}
		began := time.Now()
		w.hooks = func(context.Context, worker.Command) error {
			if time.Since(began) < 20*time.Second {
				return errors.New("exit code 1")
			}
			return nil
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		out := switchTo(t, s, "r1")
		want(t, s, out, Done, "r1")
		i := slices.IndexFunc(out.Steps, func(st Step) bool { return st.Name == stepFollow })
		if took := out.Steps[i].Seconds; took < 19 || took > 23 {
			t.Errorf("it was ready after %f s", took)
		}
	})
}
