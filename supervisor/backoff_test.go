package supervisor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

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

func TestAnAppWhoseWorkerDiesAgainAndAgainIsNotOKInBetween(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		for deaths := 1; deaths <= 4; deaths++ {
			time.Sleep(6 * time.Second)
			w.newest("r1").die(worker.Exit{Known: true, Code: 3})
			time.Sleep(3 * time.Second) // it is back
			synctest.Wait()
			st := s.Status()
			loops := st.Health == HealthDegraded && strings.Contains(st.Reason, "exit code 3 (started again")
			if loops != (deaths >= crashLoop) || st.Generations[0].Workers[0].State != string(InstanceReady) {
				t.Errorf("after %d deaths: %s: %s", deaths, st.Health, st.Reason)
			}
		}
		time.Sleep(longLife)
		synctest.Wait()
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("a minute later: %s: %s", st.Health, st.Reason)
		}
	})
}
