package supervisor

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
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

// The pipe that a worker writes to is on the disk of the state directory.
func TestADiskThatHangsWhenAPipeIsMadeIsAFailedStart(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		hangs := make(chan struct{})
		var hung atomic.Bool // once
		w.piping = func() {
			if !hung.Swap(true) {
				<-hangs
			}
		}
		switched := make(chan *Outcome)
		go func() { switched <- switchTo(t, s, "r2") }()
		time.Sleep(time.Second)
		if st := s.Status(); st.Changing == nil || st.Health != HealthOK {
			t.Errorf("meanwhile: %+v", st)
		}
		out := <-switched
		want(t, s, out, Aborted, "r1")
		if !strings.Contains(out.Error, "do the disks of its program and of the state directory answer?") {
			t.Error(out.Error)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2") // nothing is in the way
		close(hangs)
		synctest.Wait()
		if late := w.outputs[len(w.outputs)-1]; !late.isClosed() {
			t.Error("the pipe that came too late is open")
		}
		if n := len(w.processes()); n != 2 {
			t.Errorf("%d workers were started, want those of the two switches that were done", n)
		}
	})
}

func TestAWorkerThatIsStartedAtTheLastMomentIsKilled(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		var late process
		_, err := s.startWithin(time.Second, func(ctx context.Context) (spawned, error) {
			<-ctx.Done() // its program was loaded just before that
			var err error
			late, err = w.start(context.WithoutCancel(ctx), worker.Spec{Release: "r1", Process: "web"})
			return spawned{w: late}, err
		})
		synctest.Wait()
		if p, ok := late.(*fakeProc); err == nil || !ok || p.alive() {
			t.Errorf("%v; it runs", err)
		}
	})
}
