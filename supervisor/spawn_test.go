package supervisor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

func TestASpawnThatHangsIsAFailedStart(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		hangs := make(chan struct{})
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{startHangs: hangs}
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		began := time.Now()
		out := switchTo(t, s, "r2")
		want(t, s, out, Aborted, "r1")
		if !strings.Contains(out.Error, "its program was not loaded within 1m0s") || time.Since(began) > 2*time.Minute {
			t.Errorf("after %s: %s", time.Since(began), out.Error)
		}
		want(t, s, switchTo(t, s, "r1"), Done, "r1") // nothing is in the way
		close(hangs)
		synctest.Wait()
		if slices.ContainsFunc(w.processes(), func(p *fakeProc) bool { return p.spec.Release == "r2" }) {
			t.Error("what was not loaded in time runs")
		}
		stop()
	})
}

func TestASpawnThatHangsDoesNotHoldUpTheStop(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		hangs := make(chan struct{})
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		w.releases["r1"] = behaviour{startHangs: hangs}
		w.procs[0].die(worker.Exit{Known: true, Code: 3})
		time.Sleep(time.Second)
		if st := s.Status(); st.Generation != 1 {
			t.Errorf("generation %d", st.Generation)
		}
		stop()
		close(hangs)
	})
}

func TestAWorkerThatIsStartedAtTheLastMomentIsKilled(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		var late process
		_, err := s.startWithin(time.Second, func(ctx context.Context) (process, error) {
			<-ctx.Done() // its program was loaded just before that
			var err error
			late, err = w.start(context.WithoutCancel(ctx), worker.Spec{Release: "r1", Process: "web"})
			return late, err
		})
		synctest.Wait()
		if p, ok := late.(*fakeProc); err == nil || !ok || p.alive() {
			t.Errorf("%v; it runs", err)
		}
	})
}
