package supervisor

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAMendedListenerIsToldAndTheAppStaysOK(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.gate.touch(Mended{Said: []string{"/run/s was removed; it leads to generation 1 again"}})
		synctest.Wait()
		st := s.Status()
		if st.Health != HealthOK || len(st.Troubles) != 1 || !strings.Contains(st.Troubles[0].Why, "was removed") {
			t.Errorf("health %s, troubles %+v", st.Health, st.Troubles)
		}
		if st.Generation != 1 {
			t.Errorf("generation %d is live", st.Generation)
		}
	})
}

func TestALostListenerIsReplacedByAProvedGeneration(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: 3 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.gate.touch(Mended{Said: []string{"both paths were removed"}, Lost: []int{1}})
		synctest.Wait()
		if st := s.Status(); st.Health != HealthDown ||
			!strings.Contains(st.Reason, "both paths were removed; it is being replaced") {
			t.Errorf("health %s: %s", st.Health, st.Reason)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Health != HealthOK || st.Generation != 2 || st.Release != "r1" {
			t.Errorf("health %s: %s, generation %d of %s", st.Health, st.Reason, st.Generation, st.Release)
		}
	})
}

func TestALostListenerIsReplacedOnceItCanBe(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.set(func() { w.releases["r1"] = behaviour{exitAfter: time.Millisecond} })
		w.gate.touch(Mended{Said: []string{"both paths were removed"}, Lost: []int{1}})
		time.Sleep(30 * time.Second)
		if st := s.Status(); st.Health != HealthDown || st.Generation != 1 {
			t.Errorf("health %s, generation %d", st.Health, st.Generation)
		}
		w.set(func() { w.releases["r1"] = behaviour{} })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Health != HealthOK || st.Generation == 1 {
			t.Errorf("health %s: %s, generation %d", st.Health, st.Reason, st.Generation)
		}
	})
}

func TestAStolenListenerIsNoPlaceForACutover(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.gate.stolen = true
		out := switchTo(t, s, "r2")
		want(t, s, out, Aborted, "r1")
		if !strings.Contains(out.Error, "another listener takes them") {
			t.Errorf("error %q", out.Error)
		}
		synctest.Wait()
		w.gate.stolen = false
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
	})
}

func TestARollbackIsNotRefusedForAStolenListener(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan { p.Standby = time.Hour; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		w.gate.stolen = true
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if len(out.Warnings) == 0 || !strings.Contains(out.Warnings[0], "another listener takes them") {
			t.Errorf("warnings %q", out.Warnings)
		}
		synctest.Wait()
		if st := s.Status(); st.Health != HealthDown || !strings.Contains(st.Reason, "another listener takes them") {
			t.Errorf("health %s: %s", st.Health, st.Reason)
		}
	})
}

func TestListenersAreVerifiedBeforeAndAfterTheCutoverAndWhenTheOldOneIsClosed(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		synctest.Wait()
		w.gate.verified = nil
		switchTo(t, s, "r2")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.gate.verified); n < 3 || slices.Contains(w.gate.verified, 1) {
			t.Errorf("verified %v", w.gate.verified)
		}
	})
}

func TestAStrangerOnTheAddressIsInTheStatus(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.gate.others = []string{"nginx (pid 7) listens on 127.0.0.1:8000 too"}
		if st := s.Status(); len(st.Troubles) != 1 || st.Troubles[0].Why != w.gate.others[0] {
			t.Errorf("troubles %+v", st.Troubles)
		}
	})
}
