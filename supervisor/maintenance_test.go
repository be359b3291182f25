package supervisor

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/supervisor/health"
	"superctl/supervisor/worker"
)

// withPages gives every daemon of the world maintenance pages.
func (w *world) withPages() {
	w.options = func(o *Options) { o.Page = pageOf }
	w.releases[api.InMaintenance] = behaviour{answer: func(int) int { return 503 }}
}

func pageOf(api.MaintenanceStatus, []byte) (Process, error) {
	return Process{
		Command: []string{"superctl", "serve-maintenance"}, StopSignal: 15, Drain: 15 * time.Second,
		StartTimeout: 30 * time.Second,
		Health: &health.Policy{
			Check:    health.Check{Protocol: "http", Path: "/", Status: []int{503}, Timeout: 5 * time.Second},
			Interval: time.Second, HealthyAfter: 2,
		},
	}, nil
}

func turnOn(t *testing.T, s *Supervisor, allow ...netip.Prefix) *Outcome {
	t.Helper()
	return change1(t, s, Request{
		Kind: api.Maintenance, Maintenance: &api.MaintenancePage{RetryAfter: 10 * time.Minute, Allow: allow},
	})
}

func turnOff(t *testing.T, s *Supervisor) *Outcome {
	t.Helper()
	return change1(t, s, Request{Kind: api.Maintenance})
}

// reaches fails the test unless new connections reach a generation of that release.
func (g *fakeGate) reaches(t *testing.T, s *Supervisor, release string) {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	reached := g.reached
	g.mu.Unlock()
	name := ""
	for _, gs := range s.Status().Generations {
		if gs.ID == reached {
			name = gs.Release
		}
	}
	if name != release {
		t.Fatalf("connections reach generation %d of %q, not %s", reached, name, release)
	}
}

func TestUsersGetThePageAndThenTheAppAgain(t *testing.T) {
	for _, kind := range []string{"steer", "rename"} {
		t.Run(kind, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.withPages()
				w.gate.kind = kind
				w.releases["r1"] = behaviour{}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				out := turnOn(t, s)
				want(t, s, out, Done, "r1")
				if !out.Changed || out.Maintenance != api.MaintenanceOn {
					t.Errorf("%+v", out)
				}
				w.gate.reaches(t, s, api.InMaintenance)
				st := s.Status()
				if m := st.Maintenance; m == nil || m.Who != "the test" || m.Generation != 2 || m.RetryAfter != 10*time.Minute {
					t.Errorf("%+v", m)
				}
				if st.Health != HealthDegraded || !strings.HasPrefix(st.Reason, "maintenance since ") ||
					st.Listeners[0].Generation != 2 || st.Generations[0].State != api.InMaintenance {
					t.Errorf("%+v", st)
				}
				if page := s.generations[2].instances[0]; countingOf(page) != (countingInstance{}) {
					t.Error("the status says that the requests to the page are not counted")
				}
				if again := turnOn(t, s); again.Changed {
					t.Errorf("again: %+v", again)
				}
				out = turnOff(t, s)
				want(t, s, out, Done, "r1")
				w.gate.reaches(t, s, "r1")
				if again := turnOff(t, s); again.Changed || out.Maintenance != api.MaintenanceOff {
					t.Errorf("%+v, again: %+v", out, again)
				}
				if st := s.Status(); st.Health != HealthOK || st.Maintenance != nil || len(st.Generations) != 1 {
					t.Errorf("%+v", st)
				}
				if len(w.records) != 3 { // the switch, on and off
					t.Errorf("history: %+v", w.records)
				}
			})
		})
	}
}

func TestADeployBehindThePageReachesUsersWhenMaintenanceEnds(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.withPages()
		w.releases["r1"], w.releases["r2"], w.releases["bad"] = behaviour{}, behaviour{}, behaviour{exitAfter: 2 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		turnOn(t, s)
		out := switchTo(t, s, "r2")
		want(t, s, out, Done, "r2")
		if !slices.ContainsFunc(out.Warnings, func(w string) bool { return strings.Contains(w, "superctl maintenance off") }) {
			t.Errorf("warnings %q", out.Warnings)
		}
		w.gate.reaches(t, s, api.InMaintenance)
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		want(t, s, change1(t, s, Request{Kind: Reload}), Done, "r1")
		want(t, s, switchTo(t, s, "bad"), Reverted, "r1")
		w.gate.reaches(t, s, api.InMaintenance)
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		want(t, s, turnOff(t, s), Done, "r2")
		w.gate.reaches(t, s, "r2")
		if w.pointed != "r2" {
			t.Errorf("current points to %q", w.pointed)
		}
	})
}

func TestMaintenanceEndsWithAReleaseThatHasNoListener(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.withPages()
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		turnOn(t, s)
		w.plan = onlyBackground
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		want(t, s, turnOff(t, s), Done, "r2")
		if st := s.Status(); st.Maintenance != nil {
			t.Errorf("it is in maintenance: %s", st.Reason)
		}
	})
}

func TestWorkersOfTheAppAndOfThePageAreStartedAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.withPages()
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		turnOn(t, s)
		for _, release := range []string{"r1", api.InMaintenance} {
			was := w.newest(release)
			was.die(worker.Exit{Known: true, Signal: syscall.SIGKILL})
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if now := w.newest(release); now == was || !now.alive() {
				t.Errorf("the worker of %s was not started again", release)
			}
		}
		w.gate.reaches(t, s, api.InMaintenance)
		want(t, s, turnOff(t, s), Done, "r1")
		w.gate.reaches(t, s, "r1")
	})
}

func TestThePageStaysWhenTheAppDoesNotAnswer(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.withPages()
		broken := false
		w.releases["r1"] = behaviour{answer: func(int) int {
			if broken {
				return 500
			}
			return 200
		}}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		turnOn(t, s)
		broken = true
		out := turnOff(t, s)
		want(t, s, out, Aborted, "r1")
		if !strings.Contains(out.Error, "500") || out.FailedStep != stepProve {
			t.Errorf("%+v", out)
		}
		w.gate.reaches(t, s, api.InMaintenance)
		broken = false
		want(t, s, turnOff(t, s), Done, "r1")
		w.gate.reaches(t, s, "r1")
	})
}

func TestAPageThatDoesNotAnswerIsNotShown(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.withPages()
		w.releases["r1"], w.releases[api.InMaintenance] = behaviour{}, behaviour{exitAfter: time.Millisecond}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, turnOn(t, s), Aborted, "r1")
		w.gate.reaches(t, s, "r1")
		if st := s.Status(); st.Maintenance != nil || len(st.Generations) != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestMaintenanceOutlivesTheDaemon(t *testing.T) {
	for name, end := range map[string]func(s *Supervisor, w *world, stop func()){
		"its workers go on":       func(s *Supervisor, _ *world, stop func()) { leaveNow(s); stop() },
		"its workers are stopped": func(_ *Supervisor, _ *world, stop func()) { stop() },
		"the page dies meanwhile": func(s *Supervisor, w *world, stop func()) {
			leaveNow(s)
			stop()
			w.newest(api.InMaintenance).die(worker.Exit{Known: true, Signal: syscall.SIGKILL})
		},
		"all die meanwhile": func(s *Supervisor, w *world, stop func()) {
			leaveNow(s)
			stop()
			for _, p := range w.processes() {
				p.die(worker.Exit{Known: true, Signal: syscall.SIGKILL})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.withPages()
				w.releases["r1"] = behaviour{}
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				turnOn(t, s)
				end(s, w, stop)
				turned := len(w.gate.turns)
				s, stop = w.supervisor(dir)
				defer stop()
				time.Sleep(time.Minute)
				w.gate.reaches(t, s, api.InMaintenance)
				if !w.newest(api.InMaintenance).alive() || !w.newest("r1").alive() {
					t.Error("a worker is missing")
				}
				app := s.live.id
				if slices.Contains(w.gate.turns[turned:], app) {
					t.Errorf("the gate has turned to the app meanwhile: %v", w.gate.turns[turned:])
				}
				if m := s.Status().Maintenance; m == nil || m.Who != "the test" {
					t.Errorf("%+v", m)
				}
				want(t, s, turnOff(t, s), Done, "r1")
				w.gate.reaches(t, s, "r1")
			})
		})
	}
}

func TestTheAllowedNetworksReachTheApp(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.withPages()
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1") // generation 1
		office := netip.MustParsePrefix("203.0.113.0/24")
		turnOn(t, s, office) // 2
		switchTo(t, s, "r2") // 3
		var got []part
		for _, p := range w.gate.parts {
			p.at = time.Time{}
			got = append(got, p)
		}
		if want := []part{{gen: 1, networks: "[203.0.113.0/24]"}, {gen: 3, networks: "[203.0.113.0/24]"}}; !slices.Equal(got, want) {
			t.Errorf("parts %+v", got)
		}
		if reason := s.Status().Reason; !strings.Contains(reason, "203.0.113.0/24") {
			t.Errorf("status: %s", reason)
		}
		want(t, s, turnOn(t, s), Done, "r2") // without
		if p := w.gate.parts[len(w.gate.parts)-1]; p.gen != 3 || p.networks != "[]" {
			t.Errorf("the networks still reach the app: %+v", p)
		}
		w.gate.reaches(t, s, api.InMaintenance)
		want(t, s, turnOff(t, s), Done, "r2")
	})
}

func TestAPageThatCannotBeIsRefusedBeforeAnythingIsStarted(t *testing.T) {
	office := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	for name, c := range map[string]struct {
		kind  string
		live  bool
		allow []netip.Prefix
		want  string
	}{
		"one queue":            {"shared", true, nil, "has one queue for all generations"},
		"networks of a path":   {"rename", true, office, "is a path"},
		"nothing that is live": {"steer", false, nil, "no release is live"},
		"no listener":          {"", true, nil, "the app has no listener"},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.withPages()
				w.gate.kind = c.kind
				w.releases["r1"] = behaviour{}
				if c.kind == "" {
					w.plan = onlyBackground
					w.options = func(o *Options) { o.Page, o.Gates = pageOf, nil }
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				if c.live {
					switchTo(t, s, "r1")
				}
				_, err := s.Change(context.Background(), Request{
					Kind: api.Maintenance, Maintenance: &api.MaintenancePage{RetryAfter: time.Minute, Allow: c.allow},
				}, func(Event) {})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if len(s.Status().Generations) > 1 {
					t.Error("a generation was made")
				}
			})
		})
	}
}

func TestAPageIsShownOnAllListenersOrOnNone(t *testing.T) {
	for _, off := range []bool{false, true} {
		virtual(t, func(t *testing.T, w *world) {
			w.withPages()
			w.releases["r1"] = behaviour{}
			admin := w.newGate("admin")
			w.options = func(o *Options) { o.Gates, o.Page = []Gate{w.gate, w.gates[1]}, pageOf }
			w.plan = func(p Plan) Plan { p.Processes[0].Listen = []string{"web", "admin"}; return p }
			_ = admin
			s, stop := w.supervisor(t.TempDir())
			defer stop()
			switchTo(t, s, "r1")
			before := "r1"
			if off {
				before = api.InMaintenance
				turnOn(t, s)
			}
			live := w.gate.reached
			w.gate.refuses = func(gen, _ int) error { // the second of the two
				if gen != live {
					return syscall.ENOMEM
				}
				return nil
			}
			change := func() *Outcome { return turnOn(t, s) }
			if off {
				change = func() *Outcome { return turnOff(t, s) }
			}
			want(t, s, change(), Aborted, "r1")
			for _, g := range w.gates {
				g.reaches(t, s, before)
			}
			w.gate.refuses = nil
			want(t, s, change(), Done, "r1")
		})
	}
}

func TestPersistentConnectionsDoNotLeadPastThePage(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.withPages()
		dir := filepath.Join(t.TempDir(), "hook")
		w.options = func(o *Options) { o.Page, o.Hook = pageOf, dir }
		w.releases["r1"] = behaviour{}
		w.plan = func(p Plan) Plan { p.Processes[0].Flag = true; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		told := func() bool {
			synctest.Wait()
			return ask(s.core, func() bool { return s.live.instances[0].flag.drain })
		}
		if told() {
			t.Error("it is told to close its connections before")
		}
		turnOn(t, s)
		if !told() {
			t.Error("it is not told to close its connections")
		}
		turnOff(t, s)
		if told() {
			t.Error("it is told so still")
		}
	})
}
