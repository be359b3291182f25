package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// lateWorld is a heldWorld in which new connections get a page after 10 s of hold. Its migration takes
// 50 s, and hooks may take a minute.
func lateWorld(w *world) {
	heldWorld(w)
	w.withPages()
	plan := w.plan
	w.plan = func(p Plan) Plan {
		p = plan(p)
		p.Processes[0].HoldPage = true
		return p
	}
	w.hooks = func(ctx context.Context, _ worker.Command) error {
		w.mu.Lock()
		first := len(w.procs) == 0
		w.mu.Unlock()
		if first {
			return nil
		}
		select {
		case <-time.After(50 * time.Second):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reachesApp fails the test unless new connections reach the live generation.
func reachesApp(t *testing.T, w *world) {
	t.Helper()
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if w.gate.reached != w.gate.live || w.gate.live == 0 {
		t.Errorf("connections reach listener %d, and %d is the live one", w.gate.reached, w.gate.live)
	}
}

func TestNewConnectionsGetAPageWhileAHoldLastsTooLong(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lateWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		ended := make(chan *Outcome)
		var told []string
		go func() {
			out, err := s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(ev Event) {
				told = append(told, ev.Detail)
			})
			if err != nil {
				t.Error(err)
			}
			ended <- out
		}()
		time.Sleep(8 * time.Second)
		if s.Status().Maintenance != nil {
			t.Error("the page is shown before the hold lasts too long")
		}
		time.Sleep(10 * time.Second)
		w.gate.reaches(t, s, "maintenance")
		st := s.Status()
		if !strings.HasSuffix(st.Reason, "new connections get the maintenance page since 2000-01-01 00:00:23 UTC: they would wait for longer than hold") {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
		if m := st.Maintenance; m == nil || !m.Hold || m.RetryAfter != 10*time.Second || m.Generation == 0 {
			t.Errorf("maintenance: %+v", m)
		}
		out := <-ended
		want(t, s, out, Done, "r2")
		time.Sleep(time.Minute)
		serving(t, w, s, "r2")
		reachesApp(t, w)
		alone(t, w)
		if s.Status().Maintenance != nil {
			t.Errorf("maintenance: %+v", s.Status().Maintenance)
		}
		if all := strings.Join(told, "\n"); !strings.Contains(all, "new connections get the maintenance page, with Retry-After: 10 s") {
			t.Errorf("the client was told\n%s", all)
		}
		if all := strings.Join(out.Warnings, "\n"); !strings.Contains(all, "new connections got the maintenance page for") {
			t.Errorf("warnings: %q", out.Warnings)
		}
	})
}

func TestAPageOfAHoldEndsWhenTheOldReleaseServesAgain(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(w *world)
		result Result
	}{
		"after a migration that fails": {func(w *world) {
			w.hooks = func(context.Context, worker.Command) error {
				time.Sleep(50 * time.Second)
				return errors.New("no such column")
			}
		}, Aborted},
		"after a release that does not start": {func(w *world) {
			w.releases["r2"] = behaviour{exitAfter: time.Millisecond}
		}, Aborted},
		"after a release that does not stay up": {func(w *world) {
			w.releases["r2"] = behaviour{answer: badFrom(12)}
		}, Reverted},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				lateWorld(w)
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				c.spoil(w)
				out := switchTo(t, s, "r2")
				want(t, s, out, c.result, "r1")
				if !strings.Contains(strings.Join(out.Warnings, "\n"), "new connections got the maintenance page for") {
					t.Errorf("warnings: %q", out.Warnings)
				}
				time.Sleep(time.Minute)
				serving(t, w, s, "r1")
				reachesApp(t, w)
			})
		})
	}
}

func TestAPageOfAHoldThatCannotBeShownIsSaid(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lateWorld(w)
		w.releases["maintenance"] = behaviour{exitAfter: time.Millisecond}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchTo(t, s, "r2")
		want(t, s, out, Done, "r2")
		if !strings.Contains(strings.Join(out.Warnings, "\n"), "new connections wait, because the page of hold_page is not shown: ") {
			t.Errorf("warnings: %q", out.Warnings)
		}
		time.Sleep(time.Minute)
		serving(t, w, s, "r2")
	})
}

func TestADaemonThatEndsWhileAHoldHasAPageIsFollowedByOneWithoutIt(t *testing.T) {
	for point, release := range map[string]string{
		"after before": "r1", "after preflight": "r1", "before cutover": "r1", "after cutover": "r2", "before prove": "r2",
	} {
		t.Run(point, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				lateWorld(w)
				dir := leavesAt(t, w, point)
				synctest.Wait()
				s, stop := w.supervisor(dir)
				defer stop()
				time.Sleep(2 * time.Minute)
				serving(t, w, s, release)
				reachesApp(t, w)
				if s.Status().Maintenance != nil {
					t.Errorf("maintenance: %+v", s.Status().Maintenance)
				}
			})
		})
	}
}

func TestADaemonStopsAtOnceWhileAHoldHasAPage(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lateWorld(w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			_, _ = s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
		}()
		time.Sleep(20 * time.Second)
		w.gate.reaches(t, s, "maintenance")
		began := time.Now()
		stop()
		<-changed
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("the stop took %s", took)
		}
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		serving(t, w, s, "r1")
		reachesApp(t, w)
	})
}

func TestAHoldBehindTheMaintenancePageHasNoOther(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lateWorld(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, turnOn(t, s), Done, "r1")
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		w.gate.reaches(t, s, "maintenance")
		if m := s.Status().Maintenance; m == nil || m.Hold {
			t.Errorf("maintenance: %+v", m)
		}
		want(t, s, turnOff(t, s), Done, "r2")
		time.Sleep(time.Minute)
		serving(t, w, s, "r2")
	})
}
