package supervisor

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestADaemonThatStopsInACanaryLetsBothReleasesFinish(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{stopTakes: 20 * time.Second}, behaviour{stopTakes: 20 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		out := make(chan *Outcome)
		go func() { out <- switchWith(t, s, "r2", threeSteps()) }()
		time.Sleep(time.Minute)
		w.gate.settles = func(gen int) Settled {
			if last := w.gate.shares(); gen != 2 || last[len(last)-1] != 0 || w.procs[1].stopped {
				t.Errorf("settle of %d: shares %v", gen, last)
			}
			return Settled{}
		}
		go stop()
		if o := <-out; o.Result != Aborted || !strings.Contains(o.Error, "stopping") {
			t.Errorf("outcome %+v", o)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.procs[0].killed || w.procs[1].killed {
			t.Error("a worker was killed")
		}
	})
}

func TestARestartOfTheServiceEndsACanaryWhichFinishesUnderTheNextDaemon(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{stopTakes: 20 * time.Second}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		out := make(chan *Outcome)
		go func() { out <- switchWith(t, s, "r2", threeSteps()) }()
		time.Sleep(time.Minute)
		s.Leave()
		if o := <-out; o.Result != Aborted {
			t.Errorf("outcome %+v", o)
		}
		stop()
		if got := w.gate.shares(); !slices.Equal(got, []int{100, 0}) {
			t.Errorf("shares %v", got)
		}
		next, stop := w.supervisor(dir)
		defer stop()
		if st := next.Status(); st.Release != "r1" || len(st.Generations) != 2 ||
			st.Generations[0].State != string(Draining) {
			t.Errorf("status %+v", st)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := next.Status(); len(st.Generations) != 1 || w.procs[0].stopped || w.procs[1].killed {
			t.Errorf("status %+v", st)
		}
	})
}

// switchWith tries a release before it goes live.
func switchWith(t *testing.T, s *Supervisor, release string, canary *Canary) *Outcome {
	t.Helper()
	return change1(t, s, Request{Kind: Switch, Release: release, Canary: canary})
}

func TestACanaryThatADaemonLeavesBehindFinishesUnderTheNextOne(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{stopTakes: 20 * time.Second}
		dir, copied := t.TempDir(), t.TempDir()
		first, stopFirst := w.supervisor(dir)
		switchTo(t, first, "r1")
		dead := freezesAt(t, first, "switch: during canary", dir, copied)
		go func() { switchWith(t, first, "r2", threeSteps()) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.startNothing()

		queued := true
		gate := w.gate
		w.gate.settles = func(gen int) Settled {
			if gen != 2 || w.procs[1].stopped || w.gate.live != 1 {
				t.Errorf("settle of %d", gen)
			}
			time.Sleep(3 * time.Second)
			queued = false
			return Settled{}
		}
		s, stop := w.supervisor(copied)
		if st := s.Status(); st.Release != "r1" {
			t.Errorf("status %+v", st)
		}
		time.Sleep(22 * time.Second)
		synctest.Wait()
		if queued || !w.procs[1].stopped || !w.procs[1].alive() {
			t.Error("what it had was not waited for")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); len(st.Generations) != 1 || w.procs[1].killed || !w.procs[0].alive() {
			t.Errorf("status %+v", st)
		}
		w.gate.settles, gate.settles = nil, nil
		stop()
		w.bury(dead, stopFirst)
	})
}
