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

// checking gives every plan a check that takes a while and then has this result.
func checking(w *world, takes time.Duration, result error) {
	inner := w.plan
	w.plan = func(p Plan) Plan {
		if inner != nil {
			p = inner(p)
		}
		if p.Release.Name != "r2" {
			return p
		}
		p.Check = func(ctx context.Context) error {
			select {
			case <-time.After(takes):
				return result
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return p
	}
}

func TestTheCheckOfAReleaseTakesNoTimeOfItsOwn(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		boots := behaviour{answerAfter: 2 * time.Second}
		w.releases["r1"], w.releases["r2"] = boots, boots
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		without := switchTo(t, s, "r1")
		checking(w, time.Second, nil)
		with := switchTo(t, s, "r2")
		want(t, s, with, Done, "r2")
		if with.Seconds > without.Seconds {
			t.Errorf("the switch took %.3f s with the check, %.3f s without", with.Seconds, without.Seconds)
		}
	})
}

func TestAReleaseThatFailsItsCheckIsRefused(t *testing.T) {
	broken := errors.New("its interpreter does not run")
	for name, c := range map[string]struct {
		takes time.Duration
		how   behaviour
		plan  func(*Plan)
	}{
		"while it boots":              {time.Second, behaviour{answerAfter: time.Minute}, func(*Plan) {}},
		"after its worker has proved": {30 * time.Second, behaviour{}, func(*Plan) {}},
		"after its worker has failed": {time.Second, behaviour{exitAfter: time.Millisecond}, func(*Plan) {}},
		"before its hooks run": {time.Second, behaviour{}, func(p *Plan) {
			p.Hooks.Before = [][]string{{"migrate"}}
		}},
		"before a worker is replaced": {time.Second, behaviour{}, func(p *Plan) {
			p.Processes[0].Strategy, p.Processes[0].Surge = Rolling, 1
		}},
		"before connections are held": {time.Second, behaviour{}, func(p *Plan) {
			p.Processes[0].Strategy, p.Processes[0].Hold = Hold, time.Minute
		}},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, c.how
				w.plan = func(p Plan) Plan { c.plan(&p); return p }
				checking(w, c.takes, broken)
				var hooks []string
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				turned := len(w.gate.turns)
				w.says = func(_ worker.Command, _ func(string)) { hooks = append(hooks, "ran") }
				out := switchTo(t, s, "r2")
				want(t, s, out, Aborted, "r1")
				if !strings.HasSuffix(out.Error, broken.Error()) {
					t.Errorf("error %q", out.Error)
				}
				if len(hooks) > 0 {
					t.Error("a hook has run")
				}
				if len(w.gate.turns) != turned {
					t.Errorf("the gate turned: %v", w.gate.turns)
				}
				if !w.procs[0].alive() || w.procs[0].stopped {
					t.Error("the live worker was touched")
				}
				synctest.Wait()
				if w.running["web"] != 1 {
					t.Errorf("%d workers run", w.running["web"])
				}
			})
		})
	}
}

func TestAStartWaitsForTheCheckOfItsRelease(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r2"] = behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r2")
		stop()
		checking(w, time.Second, errors.New("its interpreter does not run"))
		started := len(w.procs)
		s, stop = w.supervisor(dir)
		defer stop()
		if len(w.procs) != started || !strings.Contains(s.Status().Reason, "its interpreter does not run") {
			t.Errorf("%d workers were started; %+v", len(w.procs)-started, s.Status())
		}
	})
}
