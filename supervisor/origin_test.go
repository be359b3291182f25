package supervisor

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

func TestWhoMadeTheLiveReleaseLiveIsKnownForAsLongAsItIs(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"], w.releases["bad"] = behaviour{}, behaviour{}, behaviour{exitAfter: 3 * time.Second}
		dir := t.TempDir()
		anna := Request{Kind: Switch, Release: "r1", Who: "anna (as root)", Origin: Origin{
			From: "203.0.113.7", Peer: &Peer{UID: 0},
		}}
		bob := Request{Kind: Switch, Release: "r2", Who: "bob", Origin: Origin{SudoUser: "carla"}}
		change := func(s *Supervisor, req Request, want Result) *Outcome {
			t.Helper()
			out, err := s.Change(context.Background(), req, func(Event) {})
			if err != nil || out.Result != want {
				t.Fatalf("%s %s: %+v, %v", req.Kind, req.Release, out, err)
			}
			return out
		}
		is := func(s *Supervisor, at time.Time, by string) {
			t.Helper()
			st := s.Status()
			if st.LiveOrigin == nil || st.LiveOrigin.By(st.LiveBy) != by || st.LiveSince.Sub(at).Abs() > time.Minute {
				t.Errorf(
					"%s is live since %s by %s (%+v); want %s by %s", st.Release, st.LiveSince, st.LiveBy,
					st.LiveOrigin, at, by,
				)
			}
		}
		s, stop := w.supervisor(dir)
		first := time.Now()
		if out := change(s, anna, Done); out.Who != anna.Who || out.From != "203.0.113.7" || out.Peer == nil {
			t.Errorf("%+v", out)
		}
		time.Sleep(time.Hour)
		change(s, Request{Kind: Reload, Who: "bob"}, Done)
		change(s, Request{Kind: Restart, Process: "web", Who: "bob"}, Done)
		change(s, Request{Kind: Scale, Instances: map[string]int{"web": 2}, Who: "bob"}, Done)
		is(s, first, "anna (as root) from 203.0.113.7")
		bad := bob
		bad.Release = "bad"
		change(s, bad, Reverted)
		is(s, first, "anna (as root) from 203.0.113.7")
		stop()

		// A restart.
		s, stop = w.supervisor(dir)
		is(s, first, "anna (as root) from 203.0.113.7")
		second := time.Now()
		change(s, bob, Done)
		is(s, second, "bob (sudo by carla)")
		time.Sleep(time.Hour)
		third := time.Now()
		change(s, Request{Kind: Rollback, Who: "anna"}, Done)
		is(s, third, "anna")
		stop()
	})
}

func TestARevertByTheNextDaemonKnowsWhoMadeTheOldReleaseLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["bad"] = behaviour{}, behaviour{exitAfter: 8 * time.Second}
		dir := t.TempDir()
		renewing(w, func([]Descriptor) error { return nil })
		s, stop := w.supervisor(dir)
		change1(t, s, Request{Kind: Switch, Release: "r1", Origin: Origin{From: "203.0.113.7"}})
		ended := make(chan error, 1)
		go func() {
			_, err := s.Change(context.Background(), Request{Kind: Switch, Release: "bad", Who: "bob"}, func(Event) {})
			ended <- err
		}()
		time.Sleep(5 * time.Second) // it is on probation
		s.Leave()
		stop()
		if err := <-ended; err != nil && !errors.Is(err, ErrStopping) {
			t.Fatal(err)
		}
		s, stop = w.supervisor(dir)
		time.Sleep(time.Minute)
		if st := s.Status(); st.Release != "r1" || st.LiveBy != "the test" || st.LiveOrigin.From != "203.0.113.7" {
			t.Errorf("%s is live by %s, %+v", st.Release, st.LiveBy, st.LiveOrigin)
		}
		stop()
	})
}

func TestARollbackThatIsRefusedNamesWhereItWasToGo(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		delete(w.releases, "r1")
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Aborted, "r2")
		if out.Release != "r1" || out.Previous != "r2" {
			t.Errorf("%+v", out)
		}
	})
}

func TestTheOutcomeOfARollbackThatEndsAProbationNamesBothCommits(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan {
			p.Release.Commit = "commit of " + p.Release.Name
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		if out := switchTo(t, s, "r1"); out.Commit != "commit of r1" || out.PreviousCommit != "" {
			t.Errorf("%+v", out)
		}
		done := make(chan *Outcome, 1)
		go func() { done <- switchTo(t, s, "r2") }()
		time.Sleep(5 * time.Second) // it is on probation
		back := change1(t, s, Request{Kind: Rollback})
		out := <-done
		if out.Commit != "commit of r2" || out.PreviousCommit != "commit of r1" || back.Commit != "commit of r1" ||
			back.PreviousCommit != "commit of r2" {
			t.Errorf("%+v\n%+v", out, back)
		}
	})
}

// leaveOnProbation has the daemon leave, as for an upgrade, while a release is on probation.
func leaveOnProbation(s *Supervisor, stop func(), release string) {
	go func() {
		_, _ = s.Change(context.Background(), Request{Kind: Switch, Release: release}, func(Event) {})
	}()
	time.Sleep(5 * time.Second)
	s.Leave()
	stop()
}

func TestADeathWhileNoDaemonRunsEndsTheProbation(t *testing.T) {
	for name, queues := range map[string]int{"the listeners are handed over": 1, "the listeners are lost": 0} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["bad"] = behaviour{}, behaviour{exitAfter: 8 * time.Second}
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				leaveOnProbation(s, stop, "bad")
				started := len(w.processes())
				time.Sleep(5 * time.Second) // its worker ends meanwhile

				var told []Outcome
				w.options = func(o *Options) {
					o.Tell = func(out Outcome) { told = append(told, out) }
					if queues == 0 {
						o.Inherited, o.Handed = nil, nil
					}
				}
				s, stop = w.supervisor(dir)
				time.Sleep(time.Minute)
				if st := s.Status(); st.Release != "r1" || st.Health != HealthOK {
					t.Errorf("%s is live, %s: %s", st.Release, st.Health, st.Reason)
				}
				// what is started of it serves the connections in its queue, if there is one
				if now := w.processes(); len(now) != started+queues {
					t.Errorf("%d workers were started", len(now)-started)
				}
				stop()
				if len(told) != 1 || told[0].Result != Reverted || !strings.Contains(told[0].Error, "ended while no daemon was running") {
					t.Errorf("%+v", told)
				}
			})
		})
	}
}

func TestAfterALossOfAllOnProbationTheReleaseBeforeStarts(t *testing.T) {
	for name, plan := range map[string]func(Plan) Plan{"with a listener": nil, "without one": onlyBackground} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
				w.plan = plan
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				leaveOnProbation(s, stop, "r2")
				for _, p := range w.processes() { // as when the machine starts again
					p.die(worker.Exit{})
				}
				var told []Outcome
				w.options = func(o *Options) {
					o.Inherited, o.Handed = nil, nil
					o.Tell = func(out Outcome) { told = append(told, out) }
					if plan != nil {
						o.Unused = []string{"web"}
					}
				}
				s, stop = w.supervisor(dir)
				time.Sleep(time.Minute)
				if st := s.Status(); st.Release != "r1" || st.Health != HealthOK {
					t.Errorf("%q is live, %s: %s", st.Release, st.Health, st.Reason)
				}
				stop()
				if len(told) != 1 || told[0].Result != Reverted || told[0].Release != "r2" {
					t.Errorf("%+v", told)
				}
			})
		})
	}
}

func TestTheWayBackIsWholeAgainAfterItsWorkersEndedWithTheDaemon(t *testing.T) {
	for name, c := range map[string]struct {
		lost bool
		dies time.Duration // after the next daemon has begun
	}{
		"the listeners are handed over":                       {},
		"the listeners are lost":                              {lost: true},
		"the listeners are lost, and the next daemon sees it": {lost: true, dies: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["bad"] = behaviour{closed: true}, behaviour{exitAfter: 8 * time.Second}
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				old := w.newest("r1")
				leaveOnProbation(s, stop, "bad")
				time.AfterFunc(c.dies, func() { old.die(worker.Exit{Known: true, Signal: syscall.SIGKILL}) })
				if c.dies == 0 {
					synctest.Wait()
				}
				w.options = func(o *Options) {
					if c.lost {
						o.Inherited, o.Handed = nil, nil
					}
				}
				s, stop = w.supervisor(dir)
				defer stop()
				wantBack(t, s)
			})
		})
	}
}

func TestAProcessOfTheWayBackIsWholeAgainWhileAnotherServes(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		admin := w.newGate("admin")
		w.plan = func(p Plan) Plan {
			second := p.Processes[0]
			second.Name, second.Listen, second.Health = "admin", []string{"admin"}, nil
			p.Processes = append(p.Processes, second)
			return p
		}
		w.options = func(o *Options) { o.Gates = append(o.Gates, admin) }
		w.releases["r1"], w.releases["bad"] = behaviour{closed: true, only: "web"}, behaviour{exitAfter: 8 * time.Second, only: "web"}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		leaveOnProbation(s, stop, "bad")
		time.AfterFunc(time.Second, func() {
			for _, p := range w.processes() {
				if p.spec.Release == "r1" && p.spec.Process == "web" {
					p.die(worker.Exit{Known: true, Signal: syscall.SIGKILL})
				}
			}
		})
		w.options = func(o *Options) {
			o.Gates = append(o.Gates, admin.next())
			o.Inherited, o.Handed = nil, nil
		}
		s, stop = w.supervisor(dir)
		defer stop()
		wantBack(t, s)
	})
}

// wantBack fails the test unless r1 is live and well after a minute.
func wantBack(t *testing.T, s *Supervisor) {
	t.Helper()
	time.Sleep(time.Minute)
	if st := s.Status(); st.Release != "r1" || st.Health != HealthOK {
		t.Errorf("%s is live, %s: %s", st.Release, st.Health, st.Reason)
	}
}
