package supervisor

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestARestartOfOneProcessLeavesTheOthersAlone(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "web"}), Done, "r1")
		synctest.Wait()
		started := map[string]int{}
		for _, p := range w.procs {
			started[p.spec.Process]++
		}
		if started["web"] != 2 || started["worker"] != 1 || started["beat"] != 1 {
			t.Errorf("started: %v", started)
		}
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "worker"}), Done, "r1")
		if len(s.Status().Generations) != 1 {
			t.Errorf("generations: %+v", s.Status().Generations)
		}
	})
}

func TestARestartThatIsRevertedLeavesTheOtherProcessesAlone(t *testing.T) {
	for _, how := range []Strategy{Overlap, Rolling, Hold} {
		t.Run(string(how), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				w.plan = func(p Plan) Plan {
					p.Processes[0].Strategy, p.Processes[0].Surge, p.Processes[0].Hold = how, 1, time.Minute
					return withBeat(p)
				}
				started := map[string]int{}
				w.each = func(_, process string, how behaviour) behaviour {
					if started[process]++; process == "web" && started[process] == 2 {
						how.exitAfter = 4 * time.Second // in the probation of the restart
					}
					return how
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				want(t, s, change1(t, s, Request{Kind: Restart, Process: "web"}), Reverted, "r1")
				synctest.Wait()
				if st := s.Status(); st.Health != HealthOK || len(st.Generations) != 1 {
					t.Errorf("status %+v", st)
				}
				if w.running["web"] != 1 || w.running["worker"] != 1 || w.running["beat"] != 1 {
					t.Errorf("running: %v", w.running)
				}
				if started["worker"] != 1 || started["beat"] != 1 {
					t.Errorf("started: %v", started)
				}
			})
		})
	}
}

func TestNoWorkerIsStoppedOrStartedForAReleaseThatIsGone(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = withBeat
		var gone error
		w.options = func(o *Options) {
			o.Broken = func(Release) (err error) { w.set(func() { err = gone }); return err }
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, change1(t, s, Request{Kind: Pause, Process: "beat"}), Done, "r1")
		synctest.Wait()
		before := len(w.procs)
		w.set(func() { gone = errors.New("release r1 no longer exists") })
		for name, req := range map[string]Request{
			"a restart behind the gate":           {Kind: Restart, Process: "web"},
			"a restart in place":                  {Kind: Restart, Process: "worker"},
			"more workers on a listener":          {Kind: Scale, Instances: map[string]int{"web": 2}},
			"more background workers":             {Kind: Scale, Instances: map[string]int{"worker": 2}},
			"a resume of what was paused":         {Kind: Resume, Process: "beat"},
			"a recycling of a background process": {Kind: Restart, Process: "worker", Recycle: true},
		} {
			out := change1(t, s, req)
			want(t, s, out, Aborted, "r1")
			if !strings.Contains(out.Error, "release r1 no longer exists") {
				t.Errorf("%s: %s", name, out.Error)
			}
		}
		synctest.Wait()
		if len(w.procs) != before || w.running["web"] != 1 || w.running["worker"] != 1 {
			t.Errorf("%d workers were started; running: %v", len(w.procs)-before, w.running)
		}
		if out := change1(t, s, Request{Kind: Pause, Process: "worker"}); out.Result != Done {
			t.Errorf("what starts nothing is refused too: %s", out.Error)
		}
	})
}
