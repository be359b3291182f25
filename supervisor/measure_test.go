package supervisor

import (
	"testing"
	"time"
)

func TestAStatusLooksAtTheMachineAtMostOnceASecond(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = func(p Plan) Plan {
			p.Processes[0].Instances = 3
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Minute)
		before := w.measured
		for range 10 {
			if st := s.Status(); st.Generations[0].MemoryBytes != 3<<20 || st.Generations[0].Connections != 2 {
				t.Errorf("%d bytes, %d connections", st.Generations[0].MemoryBytes, st.Generations[0].Connections)
			}
		}
		if n := w.measured - before; n != 1 {
			t.Errorf("%d looks for 10 requests in the same second", n)
		}
		time.Sleep(measureEvery)
		s.Status()
		if n := w.measured - before; n != 2 {
			t.Errorf("%d looks after a second", n)
		}
	})
}

func TestAWorkerThatWasJustStartedIsMeasured(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		s.Status()
		change1(t, s, Request{Kind: Scale, Instances: map[string]int{"web": 2}})
		for _, worker := range s.Status().Generations[0].Workers {
			if worker.MemoryBytes == 0 {
				t.Errorf("%s.%d was not measured", worker.Process, worker.Instance)
			}
		}
	})
}
