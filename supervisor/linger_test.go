package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

// lingeringWorld has releases whose old workers may keep their connections for two minutes. The fake gate says that each worker
// has two, until open is false.
func lingeringWorld(w *world) {
	w.releases["r1"], w.releases["r2"], w.releases["r3"] = behaviour{}, behaviour{}, behaviour{}
	w.plan = func(p Plan) Plan {
		p.Processes[0].DrainConnections = 2 * time.Minute
		p.Processes = append(p.Processes, background("beat", Single))
		return p
	}
}

func generations(s *Supervisor) (ids []int) {
	for _, g := range s.Status().Generations {
		ids = append(ids, g.ID)
	}
	return ids
}

func TestOldWorkersKeepTheirConnectionsForTheirTimeAndTheSwitchDoesNotWait(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingeringWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		began := time.Now()
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		if time.Since(began) > 30*time.Second {
			t.Errorf("the switch took %s", time.Since(began))
		}
		time.Sleep(30 * time.Second)
		want(t, s, switchTo(t, s, "r3"), Done, "r3")
		ids := generations(s)
		synctest.Wait()
		w.mu.Lock()
		if w.procs[0].stopped || len(ids) != 3 || w.running["beat"] != 1 || w.peak["beat"] != 1 {
			t.Errorf("generations %v, running %v", ids, w.running)
		}
		w.mu.Unlock()
		time.Sleep(3 * time.Minute)
		serving(t, w, s, "r3")
		if !w.procs[0].stopped || w.procs[0].killed {
			t.Error("the old worker was not told to stop")
		}
	})
}

func TestOldWorkersEndWithTheirLastConnection(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingeringWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		w.gate.closed.Store(true)
		time.Sleep(2 * time.Second)
		serving(t, w, s, "r2")
	})
}

func TestWorkersThatKeepTheirConnectionsOutliveTheDaemon(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingeringWorld(w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		leaveNow(s)
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(30 * time.Second)
		ids := generations(s)
		w.mu.Lock()
		if w.procs[0].stopped || len(ids) != 2 {
			t.Errorf("generations %v", ids)
		}
		w.mu.Unlock()
		time.Sleep(2 * time.Minute)
		serving(t, w, s, "r2")
	})
}

func TestARollbackToWorkersThatKeepTheirConnectionsIsInstant(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingeringWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		first := w.procs[0]
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if liveWorker(t, s) != first.pid {
			t.Errorf("%+v", out)
		}
		time.Sleep(5 * time.Minute)
		serving(t, w, s, "r1")
	})
}
