package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// looks has every worker looked at by f, which must be shown the worker's own processes and
// listener.
func (w *world) looks(f func(l Look) error) {
	var mu sync.Mutex
	w.options = func(o *Options) {
		o.Look = func(ctx context.Context, l Look) error {
			mu.Lock()
			defer mu.Unlock()
			w.mu.Lock()
			i := slices.IndexFunc(w.procs, func(p *fakeProc) bool { return p.pid == l.PIDs[0] })
			p := w.procs[i]
			w.mu.Unlock()
			var listeners []uint64
			for _, file := range p.spec.Files {
				listeners = append(listeners, uint64(1000+file.FD))
			}
			if p.spec.Release != l.Release.Name || p.spec.Process != l.Process.Name ||
				!slices.Equal(listeners, l.Listeners) || l.PIDs[1] != 10_000+p.pid {
				w.t.Errorf("worker %d of %s was looked at as %+v", p.pid, p.spec.Release, l)
			}
			if _, limited := ctx.Deadline(); !limited {
				w.t.Error("a look has no deadline")
			}
			return f(l)
		}
	}
}

var errStray = errors.New("listens on 127.0.0.1:8000")

// of finds something at the workers of one release.
func of(release string) func(Look) error {
	return func(l Look) error {
		if l.Release.Name == release {
			return errStray
		}
		return nil
	}
}

func TestAWorkerThatServesIsLookedAtBeforeItsRelease(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["stray"] = behaviour{}, behaviour{}
		w.looks(of("stray"))
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchTo(t, s, "stray")
		want(t, s, out, Aborted, "r1")
		if !strings.Contains(out.Error, "web.0 listens on 127.0.0.1:8000") {
			t.Errorf("error %q", out.Error)
		}
		if w.gate.turns[len(w.gate.turns)-1] != 1 {
			t.Errorf("the gate turned to %v", w.gate.turns)
		}
	})
}

func TestAWorkerThatServesElsewhereIsRefusedWithinSeconds(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["stray"] = behaviour{}, behaviour{answerAfter: time.Hour}
		w.looks(of("stray"))
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchTo(t, s, "stray")
		want(t, s, out, Aborted, "r1")
		if out.Seconds > 3 || !strings.Contains(out.Error, "web.0 listens on") {
			t.Errorf("after %.1f s: %q", out.Seconds, out.Error)
		}
	})
}

func TestAMomentarySocketIsNoFinding(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: 20 * time.Second}
		n := 0
		w.looks(func(Look) error {
			if n++; n%2 == 1 {
				return errStray
			}
			return nil
		})
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
	})
}

func TestAWorkerThatCannotBeLookedAtGoesLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.looks(func(Look) error { return fmt.Errorf("%w: permission denied", ErrUnseen) })
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
	})
}

func TestARespawnedWorkerThatStraysStaysAndIsTold(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		strays := false
		w.looks(func(Look) error {
			if strays {
				return errStray
			}
			return nil
		})
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		strays = true
		_ = w.procs[0].KillAll()
		time.Sleep(time.Minute)
		synctest.Wait()
		st := s.Status()
		if st.Health != HealthDegraded || !strings.Contains(st.Reason, "web.0 listens on") ||
			st.Generations[0].Workers[0].State != string(InstanceReady) {
			t.Errorf("%s: %s; %+v", st.Health, st.Reason, st.Generations[0].Workers)
		}
	})
}

func TestABackgroundProcessIsLookedAtToo(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan { p.Processes = append(p.Processes, background("worker", Overlap)); return p }
		w.looks(func(l Look) error {
			if l.Release.Name == "r2" && l.Process.Name == "worker" {
				return errors.New("runs from release r1")
			}
			return nil
		})
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchTo(t, s, "r2")
		want(t, s, out, Reverted, "r1")
		if !strings.Contains(out.Error, "worker.0 runs from release r1") {
			t.Errorf("error %q", out.Error)
		}
	})
}
