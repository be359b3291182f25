package supervisor

import (
	"slices"
	"testing"
	"testing/synctest"

	"superctl/supervisor/worker"
)

func TestStraysAreLookedForAtTheEndOfEachGeneration(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		synctest.Wait()
		var want []worker.Running
		for _, p := range w.procs {
			if p.alive() {
				want = append(want, worker.Running{Start: p.StartTime()})
			}
		}
		if last := w.strayed[len(w.strayed)-1]; len(w.procs) == len(want) || !slices.Equal(last, want) {
			t.Errorf("the last look was told of %v, and %v run", last, want)
		}
		stop()
		if last := w.strayed[len(w.strayed)-1]; len(last) > 0 {
			t.Errorf("after the stop the last look was told of %v", last)
		}
	})
}
