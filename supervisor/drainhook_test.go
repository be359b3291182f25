package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// withDrainHook has workers of a server with the drain hook, which keeps idle connections for 5 s
// and is waited for 7 s.
func withDrainHook(t *testing.T, w *world) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "drain")
	w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
	w.options = func(o *Options) { o.Hook = dir }
	w.plan = func(p Plan) Plan {
		p.Probation = 0
		p.Processes[0].Hook, p.Processes[0].HookWait = true, 7*time.Second
		return p
	}
	return dir
}

// load has the servers of all workers load the hook.
func load(s *Supervisor) {
	_ = s.do(func() {
		for _, g := range s.generations {
			for _, in := range g.instances {
				s.flags.hookLoaded(in)
			}
		}
	})
}

// says is what the flag of the nth worker says: 0, 1, or nothing when it is gone.
func says(t *testing.T, w *world, nth int) string {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	path := w.procs[nth].spec.Flag
	w.mu.Unlock()
	data, err := os.ReadFile(path)
	if _, none := os.Lstat(path + ".raised"); (none == nil) != (string(data) == "\x01") {
		t.Fatalf("%s says %q to programs, and the module is told by its other file: %v", path, data, none == nil)
	}
	if os.IsNotExist(err) {
		return "gone"
	}
	if err != nil || len(data) != 1 || data[0] > 1 {
		t.Fatalf("%s: %q, %v", path, data, err)
	}
	return string('0' + data[0])
}

func TestAWorkerThatIsReplacedSaysCloseAndIsStoppedWhenItsConnectionsHaveEnded(t *testing.T) {
	for name, c := range map[string]struct {
		last, signal time.Duration
		loaded       bool
		plan         func(*Process)
		left         string
	}{
		"there are none": {loaded: true},
		"they end":       {last: 3 * time.Second, signal: 3 * time.Second, loaded: true},
		"they outlast the keep-alive": {
			last: time.Hour, signal: 7 * time.Second, loaded: true,
			left: "web.0 of r1 (generation 1) was told to stop after 7 s with 2 connections open",
		},
		"the hook is not loaded": {last: time.Hour},
		"a program has its own hook": {
			last: 3 * time.Second, signal: 3 * time.Second, loaded: true,
			plan: func(p *Process) { p.Hook, p.Flag = false, true },
		},
		"a program has none": {last: time.Hour, plan: func(p *Process) { p.Hook, p.Flag = false, true }},
		"the config gives them more": {
			last: 20 * time.Second, signal: 20 * time.Second, loaded: true,
			plan: func(p *Process) { p.DrainConnections = time.Minute },
		},
		"the config gives them none": {last: time.Hour, loaded: true, plan: func(p *Process) { p.HookWait = 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				withDrainHook(t, w)
				if base := w.plan; c.plan != nil {
					w.plan = func(p Plan) Plan { p = base(p); c.plan(&p.Processes[0]); return p }
				}
				var ended atomic.Bool
				ended.Store(c.last == 0)
				w.gate.connections = func(int) int { return map[bool]int{false: 2}[ended.Load()] }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				if c.loaded {
					load(s)
				}
				if says(t, w, 0) != "0" {
					t.Error("it drains while it is live")
				}
				w.stopping = func(p *fakeProc) {
					if data, _ := os.ReadFile(p.spec.Flag); string(data) != "\x01" {
						t.Errorf("at its stop signal its flag is %q", data)
					}
				}
				switchTo(t, s, "r2")
				retired := time.Now()
				time.AfterFunc(c.last, func() { ended.Store(true) })
				for !signalled(w, 0) {
					time.Sleep(500 * time.Millisecond)
				}
				if took := time.Since(retired); took < c.signal || took > c.signal+lookEvery {
					t.Errorf("it was told to stop after %s", took)
				}
				if says(t, w, 0) != "gone" || says(t, w, 1) != "0" {
					t.Errorf("flags %s and %s", says(t, w, 0), says(t, w, 1))
				}
				var told []string
				for _, o := range w.records {
					if o.Kind == "drain" {
						told = append(told, o.Warnings...)
					}
				}
				if got := strings.Join(told, "\n"); got != c.left {
					t.Errorf("the history says %q", got)
				}
			})
		})
	}
}

func TestStatusSaysThatAServerHasNotLoadedTheHook(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		st := s.Status()
		if len(st.Troubles) != 1 || st.Troubles[0].Of != "process web" ||
			!strings.Contains(st.Troubles[0].Why, "has not loaded the drain hook") {
			t.Errorf("without the hook: %+v", st.Troubles)
		}
		if st.Health != HealthOK {
			t.Errorf("it serves, and its health is %s", st.Health)
		}
		load(s)
		if st := s.Status(); len(st.Troubles) != 0 {
			t.Errorf("with the hook: %+v", st.Troubles)
		}
	})
}

func TestAServerThatIsToldToStopOnlyWithoutConnectionsNeedsNoHookForThat(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan {
			p.Probation, p.Processes[0].HookWait = 0, 7*time.Second
			return p
		}
		var ended atomic.Bool
		w.gate.connections = func(int) int { return map[bool]int{false: 2}[ended.Load()] }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(3 * time.Second)
		if signalled(w, 0) {
			t.Fatal("it was told to stop while it had connections")
		}
		ended.Store(true)
		time.Sleep(lookEvery + time.Millisecond)
		if !signalled(w, 0) {
			t.Error("it is not told to stop")
		}
	})
}

func TestOnlyTheGenerationThatIsLiveKeepsItsConnections(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		base := w.plan
		w.plan = func(p Plan) Plan {
			p = base(p)
			p.Probation, p.Standby = 10*time.Second, time.Hour
			return p
		}
		w.releases["bad"] = behaviour{answer: badFrom(12)}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		flags := func(when, want string) {
			t.Helper()
			got := ""
			for i := range w.procs {
				got += says(t, w, i) + " "
			}
			if strings.TrimSpace(got) != want {
				t.Errorf("%s: flags %s, want %s", when, got, want)
			}
		}
		switchTo(t, s, "r1")
		ended := make(chan struct{})
		go func() { defer close(ended); switchTo(t, s, "r2") }()
		time.Sleep(5 * time.Second)
		flags("in the probation", "1 0")
		<-ended
		flags("on standby", "1 0")
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		flags("after a rollback to it", "0 1")
		want(t, s, switchTo(t, s, "bad"), Reverted, "r1")
		flags("after a revert", "0 1 gone")
	})
}

func TestAWorkerThatIsStartedAgainOnStandbyKnowsThatItDrains(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		base := w.plan
		w.plan = func(p Plan) Plan { p = base(p); p.Standby = time.Hour; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		if err := w.procs[0].KillAll(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.procs) != 3 || says(t, w, 2) != "1" {
			t.Errorf("%d workers, the newest says %s", len(w.procs), says(t, w, len(w.procs)-1))
		}
	})
}

func TestTheNextDaemonTellsTheWorkersOfTheLastOne(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		load(s)
		leaveNow(s)
		stop()
		s, stop = w.supervisor(dir)
		switchTo(t, s, "r2")
		if says(t, w, 0) != "1" || signalled(w, 0) {
			t.Errorf("the flag is %s, and it was told to stop: %v", says(t, w, 0), signalled(w, 0))
		}
		time.Sleep(3 * time.Second)
		leaveNow(s)
		stop()
		_, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(3 * time.Second)
		if signalled(w, 0) {
			t.Error("the third daemon has told it to stop at once")
		}
		time.Sleep(2 * time.Second)
		if !signalled(w, 0) {
			t.Error("the third daemon has not told it to stop when its time was over")
		}
	})
}

func TestAStopOfTheDaemonWaitsForNobodyAndLeavesNoHook(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		dir := withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		load(s)
		switchTo(t, s, "r2")
		load(s)
		if signalled(w, 0) {
			t.Fatal("nobody has waited for r1's connections")
		}
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	})
}

func TestAFlagThatIsLostKeepsNobodyFromStopping(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		dir := withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		load(s)
		if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2") // it runs without a flag
		if !signalled(w, 0) {
			t.Error("it is waited for, although nothing tells it to let go of its connections")
		}
	})
}

func TestAFlagThatWasTouchedTellsAllTheSame(t *testing.T) {
	for name, touch := range map[string]func(dir, flag string) error{
		"cut short":               func(_, flag string) error { return os.Truncate(flag, 0) },
		"removed":                 func(_, flag string) error { return os.Remove(flag) },
		"removed with all others": func(dir, _ string) error { return os.RemoveAll(dir) },
		"a directory": func(_, flag string) error {
			return errors.Join(os.Remove(flag), os.MkdirAll(flag+"/x", 0o700))
		},
		"a link": func(_, flag string) error {
			return errors.Join(os.Remove(flag), os.Symlink("/dev/null", flag))
		},
		"a pipe": func(_, flag string) error {
			return errors.Join(os.Remove(flag), syscall.Mkfifo(flag, 0o600))
		},
		"raised by a directory": func(_, flag string) error { return os.MkdirAll(flag+".raised/x", 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				dir := withDrainHook(t, w)
				base := w.plan
				w.plan = func(p Plan) Plan {
					p = base(p)
					p.Standby = time.Hour
					return p
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				load(s)
				if err := touch(dir, w.procs[0].spec.Flag); err != nil {
					t.Fatal(err)
				}
				want(t, s, switchTo(t, s, "r2"), Done, "r2")
				if got := says(t, w, 0); got != "1" {
					t.Errorf("after the cutover the flag is %s", got)
				}
				want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
				if got := says(t, w, 0); got != "0" {
					t.Errorf("after the rollback the flag is %s", got)
				}
			})
		})
	}
}

func TestAProgramIsOnlyGivenTheFlag(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		base := w.plan
		w.plan = func(p Plan) Plan {
			p = base(p)
			p.Processes[0].Hook, p.Processes[0].Flag = false, true
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		if spec := w.procs[0].spec; spec.Hook != "" || says(t, w, 0) != "0" {
			t.Errorf("hook %q, flag %q", spec.Hook, spec.Flag)
		}
	})
}

func TestAServerThatOnlyCountsLoadsTheHookAndIsNotExpectedToDrain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		dir := withDrainHook(t, w)
		base := w.plan
		w.plan = func(p Plan) Plan {
			p = base(p)
			p.Processes[0].Hook, p.Processes[0].Counts = false, true
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		spec := w.procs[0].spec
		if spec.Hook != dir || spec.Flag == "" || spec.Requests == "" {
			t.Errorf("hook %q, flag %q, requests in %q", spec.Hook, spec.Flag, spec.Requests)
		}
		if st := s.Status(); len(st.Troubles) > 0 {
			t.Errorf("%v", st.Troubles)
		}
	})
}

func TestWorkersOfAnotherServerHaveNoHook(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		w.plan = nil
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		if spec := w.procs[0].spec; spec.Hook != "" || spec.Flag != "" {
			t.Errorf("hook %q, flag %q", spec.Hook, spec.Flag)
		}
	})
}
