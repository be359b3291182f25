package supervisor

import (
	"testing"
	"testing/synctest"
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
