package supervisor

import (
	"testing"
	"time"
)

// once fails the test unless one beat runs, that of the release which is live, and never two have.
func once(t *testing.T, w *world, s *Supervisor, release string) {
	t.Helper()
	serving(t, w, s, release)
	if w.peak["beat"] != 1 {
		t.Errorf("at once ran %d beats", w.peak["beat"])
	}
}

func beatWorld(w *world) {
	w.releases["r1"], w.releases["r2"] = behaviour{
		only: "beat", stopTakes: 3 * time.Second,
	}, behaviour{only: "beat", stopTakes: 3 * time.Second}
	w.plan = func(p Plan) Plan {
		p.Processes = append(p.Processes, background("beat", Single))
		return p
	}
}

// The web has been cut over when the process that must be one is started: the worst moment to fail.
func TestASingleProcessThatFailsTakesAllBackAndTwoNeverRun(t *testing.T) {
	for name, how := range map[string]behaviour{
		"at its start":     {exitAfter: time.Millisecond},
		"later":            {exitAfter: 500 * time.Millisecond},
		"in the probation": {exitAfter: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				beatWorld(w)
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				how.only = "beat"
				w.releases["r2"] = how
				want(t, s, switchTo(t, s, "r2"), Reverted, "r1")
				time.Sleep(time.Minute)
				once(t, w, s, "r1")
			})
		})
	}
}

func TestADaemonThatEndsWhileASingleProcessMovesIsFollowedByOneThatRunsItOnce(t *testing.T) {
	for _, point := range []string{
		"before follow", "after follow", "before settle", "before probation", "after probation", "before retire",
	} {
		t.Run(point, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				beatWorld(w)
				s, stop := w.supervisor(leavesAt(t, w, point))
				defer stop()
				time.Sleep(2 * time.Minute)
				once(t, w, s, "r2")
			})
		})
	}
}

// The old one is gone, and the new one is not there yet.
func TestADaemonThatEndsBetweenTwoSingleProcessesIsFollowedByOneThatStartsTheSecond(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		beatWorld(w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		w.each = func(release, process string, how behaviour) behaviour {
			if release == "r2" && process == "beat" {
				leaveNow(s)
				how.startErr = ErrStopping
			}
			return how
		}
		_, _ = s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
		stop()
		if w.running["beat"] != 0 {
			t.Fatalf("running %v", w.running)
		}
		w.each = nil
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(2 * time.Minute)
		once(t, w, s, "r2")
	})
}

func TestADaemonThatEndsDuringARevertIsFollowedByOneThatRunsASingleProcessOnce(t *testing.T) {
	for _, point := range []string{"before revert", "after revert"} {
		t.Run(point, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				beatWorld(w)
				w.releases["r2"] = behaviour{exitAfter: 5 * time.Second, only: "web"}
				s, stop := w.supervisor(leavesAt(t, w, point))
				defer stop()
				time.Sleep(2 * time.Minute)
				once(t, w, s, "r1")
			})
		})
	}
}
