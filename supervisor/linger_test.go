package supervisor

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

// lingering has a release whose web workers keep their connections for up to a minute, and then
// drain for 30 s.
func lingering(w *world) {
	w.releases["r1"], w.releases["r2"] = behaviour{stopTakes: 10 * time.Second}, behaviour{}
	w.plan = func(p Plan) Plan {
		p.Processes[0].DrainConnections = time.Minute
		return p
	}
}

// signalled tells whether a worker has had its stop signal.
func signalled(w *world, nth int) bool {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[nth].stopped
}

func TestConnectionsMayEndBeforeTheirWorkerIsToldToStop(t *testing.T) {
	for name, c := range map[string]struct{ last, signal time.Duration }{
		"there are none":         {0, 0},
		"they end":               {20 * time.Second, 20 * time.Second},
		"they last for too long": {2 * time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				lingering(w)
				var ended atomic.Bool
				ended.Store(c.last == 0)
				w.gate.connections = func(int) int { return map[bool]int{false: 2}[ended.Load()] }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				switchTo(t, s, "r2")
				retired := time.Now()
				time.AfterFunc(c.last, func() { ended.Store(true) })
				for !signalled(w, 0) {
					time.Sleep(500 * time.Millisecond)
				}
				if took := time.Since(retired); took < c.signal || took > c.signal+lookEvery {
					t.Errorf("it was told to stop after %s", took)
				}
				time.Sleep(11 * time.Second)
				synctest.Wait()
				if n := len(s.Status().Generations); n != 1 {
					t.Errorf("%d generations", n)
				}
			})
		})
	}
}

func TestAStopOfTheDaemonWaitsForNoConnections(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingering(w)
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		if signalled(w, 0) {
			t.Error("it was told to stop while it had connections")
		}
		began := time.Now()
		stop()
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("the stop took %s", took)
		}
	})
}

func TestConnectionsLastOverAnotherDaemon(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingering(w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(20 * time.Second)
		leaveNow(s)
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(35 * time.Second)
		if signalled(w, 0) {
			t.Error("it was told to stop by the next daemon")
		}
		time.Sleep(6 * time.Second)
		if !signalled(w, 0) {
			t.Error("it was not told to stop when its time was over")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if st := s.Status(); len(st.Generations) != 1 || st.Release != "r2" {
			t.Errorf("status %+v", st)
		}
	})
}

func TestAReleaseThatIsRefusedIsNotGivenTimeForConnections(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingering(w)
		w.releases["bad"] = behaviour{answer: badFrom(2)}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		began := time.Now()
		want(t, s, switchTo(t, s, "bad"), Aborted, "r1")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		w.releases["r2"] = behaviour{answer: badFrom(12)}
		want(t, s, switchTo(t, s, "r2"), Reverted, "r1")
		if !signalled(w, 2) {
			t.Error("a release that was taken back keeps its connections")
		}
	})
}

// withAnswerWait has a release without the drain hook, whose stop signal waits for answers.
func withAnswerWait(w *world) {
	w.releases["r1"], w.releases["r2"] = behaviour{stopTakes: 10 * time.Second}, behaviour{}
	w.plan = func(p Plan) Plan {
		p.Processes[0].AnswerWait = 2 * time.Second
		return p
	}
}

// waits returns what the first worker that is to stop waits for before its stop signal; stops reports
// whether there is one.
func waits(s *Supervisor) (what api.LingerFor, stops bool) {
	for _, g := range s.Status().Generations {
		for _, w := range g.Workers {
			if w.State == string(InstanceStopping) {
				return w.WaitsFor, true
			}
		}
	}
	return "", false
}

func TestAStopSignalWaitsUntilRequestsHaveArrived(t *testing.T) {
	for name, c := range map[string]struct {
		last, signal time.Duration
	}{
		"all are answered":  {0, 0},
		"one arrives late":  {time.Second, time.Second},
		"one never arrives": {time.Hour, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				withAnswerWait(w)
				var answered atomic.Bool
				answered.Store(c.last == 0)
				w.gate.unanswered = func(int) int { return map[bool]int{false: 1}[answered.Load()] }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				asked := make(chan struct{})
				go func() { switchTo(t, s, "r2"); close(asked) }()
				what, stops := waits(s)
				for range 3000 {
					if stops {
						break
					}
					time.Sleep(10 * time.Millisecond)
					what, stops = waits(s)
				}
				began := time.Now()
				if !stops || c.signal > 0 && what != api.Answers {
					t.Fatalf("it waits for %q", what)
				}
				time.AfterFunc(c.last, func() { answered.Store(true) })
				for tries := 0; !signalled(w, 0) && tries < 1000; tries++ {
					time.Sleep(10 * time.Millisecond)
				}
				if took := time.Since(began); took < c.signal-50*time.Millisecond || took > c.signal+100*time.Millisecond {
					t.Errorf("it was told to stop after %s", took)
				}
				<-asked
				time.Sleep(11 * time.Second)
			})
		})
	}
}

func TestTheNextDaemonWaitsForAnswersNoLonger(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withAnswerWait(w)
		w.gate.unanswered = func(int) int { return 1 }
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(time.Second)
		leaveNow(s)
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		if got, _ := waits(s); signalled(w, 0) || got != api.Answers {
			t.Errorf("the next daemon does not wait on, but for %q", got)
		}
		time.Sleep(1500 * time.Millisecond)
		if !signalled(w, 0) {
			t.Error("it was not told to stop when its time was over")
		}
		time.Sleep(11 * time.Second)
	})
}

func TestAWorkerThatWaitsForItsConnectionsDoesNotWaitForAnswersToo(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingering(w)
		plan := w.plan
		w.plan = func(p Plan) Plan {
			p = plan(p)
			p.Processes[0].AnswerWait = 2 * time.Second
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		if got, _ := waits(s); got != api.Connections {
			t.Errorf("it waits for %q", got)
		}
	})
}
