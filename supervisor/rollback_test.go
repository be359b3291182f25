package supervisor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestARollbackEndsAProbation(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		first := make(chan *Outcome)
		go func() { first <- switchTo(t, s, "r2") }()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if !out.Changed || out.Release != "r1" {
			t.Errorf("rollback: %+v", out)
		}
		if sw := <-first; sw.Result != Reverted || !strings.Contains(sw.Error, "rolled back by the test") {
			t.Errorf("switch: %s %s", sw.Result, sw.Error)
		}
	})
}

// The workers before a restart are of the same release: to go back to them would be no rollback.
func TestARollbackInTheProbationOfARestartGoesToTheReleaseBefore(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		first := make(chan *Outcome)
		go func() { first <- change1(t, s, Request{Kind: Restart, Process: "web"}) }()
		at := func() string {
			if c := s.Status().Changing; c != nil {
				return c.Step
			}
			return ""
		}
		for tries := 0; at() != stepProbation && tries < 1000; tries++ {
			time.Sleep(10 * time.Millisecond)
		}
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if out.Kind != string(Rollback) || out.Release != "r1" || out.Previous != "r2" {
			t.Errorf("rollback: %+v", out)
		}
		if re := <-first; re.Result != Reverted || !strings.Contains(re.Error, "rolled back by the test") {
			t.Errorf("restart: %s %s", re.Result, re.Error)
		}
	})
}
