package supervisor

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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
