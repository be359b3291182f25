package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// withVariables gives every plan of the world variables, and the supervisors places in memory for
// them.
func withVariables(w *world, dir string, read func(*Plan) error) {
	w.plan = func(p Plan) Plan {
		p.Hooks.Env = []string{"TOKEN=canary-hook"}
		p.Processes[0].Env = []string{"TOKEN=canary-\xff\xe9", "OTHER=x"}
		p.Processes[0].Templates = []string{"ID=canary-{generation}"}
		return p
	}
	w.options = func(o *Options) {
		o.Values = Values{Dir: filepath.Join(dir, "values"), Read: read}
		o.Scratch = filepath.Join(dir, "scratch")
	}
}

// lastStart is the spec of the newest worker.
func lastStart(w *world) (env, templates []string) {
	spec := w.procs[len(w.procs)-1].spec
	return spec.Env, spec.Templates
}

func TestTheNextDaemonKnowsTheVariablesAndTheStateFileDoesNot(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		state, memory := t.TempDir(), t.TempDir()
		withVariables(w, memory, nil)
		s, stop := w.supervisor(state)
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		s.Leave()
		stop()
		data, err := os.ReadFile(filepath.Join(state, stateName))
		if err != nil || strings.Contains(string(data), "canary") {
			t.Errorf("the state file has a value: %v\n%s", err, data)
		}
		s, stop = w.supervisor(state)
		_ = w.procs[len(w.procs)-1].KillAll()
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		env, templates := lastStart(w)
		if len(w.procs) != 2 || !slices.Equal(env, []string{"TOKEN=canary-\xff\xe9", "OTHER=x"}) ||
			!slices.Equal(templates, []string{"ID=canary-{generation}"}) {
			t.Errorf("%d workers; the newest has %q %q", len(w.procs), env, templates)
		}
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		stop()
		if left, _ := filepath.Glob(filepath.Join(memory, "*", "*")); len(left) > 0 {
			t.Errorf("left in memory: %v", left)
		}
	})
}

func TestVariablesThatAreLostAreReadFromTheConfig(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		state, memory := t.TempDir(), t.TempDir()
		withVariables(w, memory, func(p *Plan) error {
			if p.Release.Name != "r1" {
				return errors.New("another release: " + p.Release.Name)
			}
			p.Processes[0].Env = []string{"TOKEN=read-again"}
			return nil
		})
		s, stop := w.supervisor(state)
		switchTo(t, s, "r1")
		s.Leave()
		stop()
		if err := os.RemoveAll(filepath.Join(memory, "values")); err != nil {
			t.Fatal(err)
		}
		_, stop = w.supervisor(state)
		defer stop()
		_ = w.procs[0].KillAll()
		time.Sleep(time.Minute)
		synctest.Wait()
		if env, _ := lastStart(w); len(w.procs) != 2 || !slices.Equal(env, []string{"TOKEN=read-again"}) {
			t.Errorf("%d workers; the newest has %q", len(w.procs), env)
		}
	})
}

func TestTheValuesOfARefusedPlanAreRemoved(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["broken"] = behaviour{}, behaviour{startErr: errors.New("no")}
		memory := t.TempDir()
		withVariables(w, memory, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		want(t, s, switchTo(t, s, "broken"), Aborted, "r1")
		want(t, s, switchTo(t, s, "broken"), Aborted, "r1")
		time.Sleep(time.Minute)
		synctest.Wait()
		if left, _ := filepath.Glob(filepath.Join(memory, "values", "*")); len(left) > 2 {
			t.Errorf("kept: %v", left)
		}
		st, err := os.Stat(filepath.Join(memory, "values"))
		if err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%v %v", st, err)
		}
	})
}

func TestTheValuesOfARunningScheduledCommandAreKept(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10", Timeout: time.Hour})
		cr.plan = func(p *Plan) { p.Hooks.Secrets = worker.Secrets{"KEY": "/secrets/of-" + p.Release.Name} }
		var used []string
		options := w.options
		w.options = func(o *Options) {
			options(o)
			o.Values.Unused = func(kept []string) error { used = kept; return nil }
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		cr.set(func() { cr.takes = 15 * time.Minute })
		untilClock(t, "00:11:00")
		cr.wants(t, "00:10:00 /r/r1")
		switchTo(t, s, "r2")
		time.Sleep(time.Minute)
		want(t, s, change1(t, s, Request{Kind: Reload}), Done, "r2")
		synctest.Wait() // the old generation is gone
		if n := len(s.Status().Generations); n != 1 || !slices.Contains(used, "/secrets/of-r1") {
			t.Errorf("%d generations; in use are %q", n, used)
		}
		untilClock(t, "00:26:00")
		cr.set(func() { cr.takes = 0 })
		want(t, s, change1(t, s, Request{Kind: Reload}), Done, "r2")
		synctest.Wait()
		if slices.Contains(used, "/secrets/of-r1") {
			t.Errorf("after the run, in use are %q", used)
		}
	})
}
