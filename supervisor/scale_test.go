package supervisor

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func scaleTo(process string, n int) Request {
	return Request{Kind: Scale, Instances: map[string]int{process: n}}
}

// processes is what status says of one process.
func processStatus(t *testing.T, s *Supervisor, name string) ProcessStatus {
	t.Helper()
	for _, ps := range s.Status().Processes {
		if ps.Name == name {
			return ps
		}
	}
	t.Fatalf("no process %s", name)
	return ProcessStatus{}
}

// scaled fails the test unless so many instances of a process run, and no others.
func scaled(t *testing.T, w *world, s *Supervisor, process string, n int) {
	t.Helper()
	synctest.Wait()
	if ps := processStatus(t, s, process); ps.Wanted != n || ps.Ready != n || w.running[process] != n {
		t.Errorf("%+v, and %d run; want %d", ps, w.running[process], n)
	}
}

func TestAScaleOutlivesASwitchAndTheDaemonUntilTheConfigIsAskedForAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = withBeat
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		out := change1(t, s, scaleTo("worker", 3))
		if !out.Changed || out.Steps[0].Detail != "worker 1 to 3" {
			t.Errorf("%+v", out)
		}
		scaled(t, w, s, "worker", 3)
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		time.Sleep(time.Minute)
		scaled(t, w, s, "worker", 3)
		if out := change1(t, s, scaleTo("worker", 3)); out.Changed {
			t.Errorf("%+v", out)
		}
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		scaled(t, w, s, "worker", 3)
		change1(t, s, Request{Kind: Scale})
		scaled(t, w, s, "worker", 1)
	})
}

func TestAWebGetsMoreInstancesInItsPlaceAndFewerByBeingReplaced(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		before := s.Status().Generation
		change1(t, s, scaleTo("web", 3))
		scaled(t, w, s, "web", 3)
		if now := s.Status().Generation; now != before {
			t.Errorf("generation %d", now)
		}
		out := change1(t, s, scaleTo("web", 2))
		want(t, s, out, Done, "r1")
		time.Sleep(time.Minute)
		scaled(t, w, s, "web", 2)
		scaled(t, w, s, "worker", 1)
		if now := s.Status().Generation; now == before {
			t.Error("instances were taken away from a queue that others accept from")
		}
		_, err := s.Change(
			t.Context(), Request{Kind: Scale, Instances: map[string]int{"web": 1, "worker": 2}}, func(Event) {},
		)
		if err == nil || !strings.Contains(err.Error(), "scale it alone") {
			t.Errorf("%v", err)
		}
	})
}

func TestInstancesWithListenersOfTheirOwnComeAndGoInTheirPlace(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		rollingWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		before := s.Status().Generation
		for _, n := range []int{6, 2, 4} {
			change1(t, s, scaleTo("web", n))
			scaled(t, w, s, "web", n)
			if len(w.gate.spread) != n || len(w.gate.staged) != n {
				t.Errorf("%d instances, spread over %v of %v", n, w.gate.spread, w.gate.staged)
			}
		}
		one := 2
		change1(t, s, Request{Kind: Restart, Process: "web", Instance: &one})
		whole(t, w, s, "r1")
		if now := s.Status().Generation; now != before {
			t.Errorf("generation %d", now)
		}
	})
}

func TestAScaleWhoseNewInstancesFailChangesNothing(t *testing.T) {
	for _, process := range []string{"web", "worker"} {
		t.Run(process, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				w.plan = withBeat
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				w.each = func(_, of string, how behaviour) behaviour {
					if of == process {
						how.startErr = errors.New("out of memory")
					}
					return how
				}
				out := change1(t, s, scaleTo(process, 3))
				want(t, s, out, Aborted, "r1")
				if !strings.Contains(out.Error, "out of memory") {
					t.Errorf("%+v", out)
				}
				time.Sleep(time.Minute)
				scaled(t, w, s, process, 1)
			})
		})
	}
}

func TestAPausedProcessStaysAwayUntilItIsResumed(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = withBeat
		w.plan = func(p Plan) Plan { p = withBeat(p); p.Standby = time.Hour; return p }
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		change1(t, s, Request{Kind: Pause, Process: "worker"})
		away := func() {
			t.Helper()
			synctest.Wait()
			if ps := processStatus(t, s, "worker"); !ps.Paused || w.running["worker"] != 0 || w.running["beat"] != 1 {
				t.Errorf("%+v, running %v", ps, w.running)
			}
		}
		away()
		if out := change1(t, s, Request{Kind: Pause, Process: "worker"}); out.Changed {
			t.Errorf("%+v", out)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		away()
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		away()
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		away()
		change1(t, s, Request{Kind: Resume, Process: "worker"})
		scaled(t, w, s, "worker", 1)
	})
}

func TestAResumeThatFailsLeavesTheProcessPaused(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		change1(t, s, Request{Kind: Pause, Process: "worker"})
		w.each = func(_, of string, how behaviour) behaviour { how.startErr = errors.New("no broker"); return how }
		out := change1(t, s, Request{Kind: Resume, Process: "worker"})
		want(t, s, out, Aborted, "r1")
		synctest.Wait()
		if ps := processStatus(t, s, "worker"); !ps.Paused || w.running["worker"] != 0 ||
			s.Status().Health != HealthOK {
			t.Errorf("%+v", s.Status())
		}
	})
}

func TestWhatCannotBeScaledOrPausedIsRefusedWithTheWayOut(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		zero, seven := 0, 7
		_, err := s.Change(t.Context(), scaleTo("web", 2), func(Event) {})
		if err == nil || !strings.Contains(err.Error(), "nothing to scale") {
			t.Errorf("%v", err)
		}
		switchTo(t, s, "r1")
		change1(t, s, scaleTo("web", 2))
		change1(t, s, Request{Kind: Pause, Process: "worker"})
		for says, req := range map[string]Request{
			"no worker would answer on its listener": scaleTo("web", 0),
			"from 0 to 1000":                         scaleTo("worker", 1001),
			`its strategy is "single"`:               scaleTo("beat", 2),
			`there is no process "celery"`:           scaleTo("celery", 2),
			"only background processes":              {Kind: Pause, Process: "web"},
			`there is no process "clock"`:            {Kind: Resume, Process: "clock"},
			"has no instance 7":                      {Kind: Restart, Process: "web", Instance: &seven},
			"superctl restart web replaces all":      {Kind: Restart, Process: "web", Instance: &zero},
			"superctl resume worker starts it":       {Kind: Restart, Process: "worker"},
		} {
			var refused *RefusedError
			if _, err := s.Change(t.Context(), req, func(Event) {}); !errors.As(err, &refused) || !refused.Usage ||
				!strings.Contains(err.Error(), says) {
				t.Errorf("%+v: %v", req, err)
			}
		}
	})
}
