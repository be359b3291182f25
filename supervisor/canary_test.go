package supervisor

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// threeSteps is a canary of three steps, each of two minutes.
func threeSteps() *Canary { return &Canary{Steps: []int{100, 1000, 5000}, For: 2 * time.Minute} }

// shares are the shares that the gate was asked for.
func (g *fakeGate) shares() (list []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.parts {
		list = append(list, p.share)
	}
	return list
}

func TestACanaryGetsMoreStepByStepAndThenAll(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		canary := threeSteps()
		canary.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		var progress []string
		first := make(chan *Outcome)
		go func() {
			out, err := s.Change(t.Context(), Request{Kind: Switch, Release: "r2", Canary: canary}, func(ev Event) {
				if ev.Type == "progress" && ev.Step == stepCanary {
					progress = append(progress, ev.Detail)
				}
			})
			if err != nil {
				t.Error(err)
			}
			first <- out
		}()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		st := s.Status()
		if c := st.Changing; c == nil || c.Step != stepCanary || c.Canary == nil || c.Canary.Share != 10 ||
			len(c.Canary.Networks) != 1 {
			t.Errorf("changing: %+v", c)
		}
		if l := st.Listeners[0]; l.Generation != 1 || l.Canary != 2 {
			t.Errorf("listener: %+v", l)
		}
		out := <-first
		want(t, s, out, Done, "r2")
		if got := w.gate.shares(); !slices.Equal(got, []int{100, 1000, 5000}) {
			t.Errorf("shares %v", got)
		}
		for i, p := range w.gate.parts {
			if d := p.at.Sub(w.gate.parts[0].at); d != time.Duration(i)*2*time.Minute || p.gen != 2 ||
				p.networks != "[10.0.0.0/8]" {
				t.Errorf("part %+v after %s", p, d)
			}
		}
		if want := []string{
			"10.0.0.0/8, 1 % for 2 min", "10.0.0.0/8, 10 % for 2 min", "10.0.0.0/8, 50 % for 2 min",
		}; !slices.Equal(progress, want) {
			t.Errorf("progress %q", progress)
		}
		var names []string
		for _, st := range out.Steps {
			names = append(names, st.Name)
		}
		if got := strings.Join(names, " "); got != "resolve boot prove canary cutover settle probation retire" {
			t.Errorf("steps: %s", got)
		}
		if st := s.Status(); st.Listeners[0].Canary != 0 {
			t.Errorf("after it: %+v", st.Listeners[0])
		}
	})
}

func TestACanaryOfNetworksAloneHasOneStep(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := change1(t, s, Request{
			Kind: Switch, Release: "r2",
			Canary: &Canary{Networks: []netip.Prefix{netip.MustParsePrefix("::1/128")}, For: time.Hour},
		})
		want(t, s, out, Done, "r2")
		if len(w.gate.parts) != 1 || w.gate.parts[0].share != 0 || w.gate.parts[0].networks != "[::1/128]" {
			t.Errorf("parts %+v", w.gate.parts)
		}
	})
}

func TestTheCheckOfACanaryKnowsWhatItChecks(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan {
			p.Hooks = Hooks{Env: []string{"A=b"}, Dir: p.Release.Path, Timeout: time.Minute}
			return p
		}
		var seen []string
		w.hooks = func(_ context.Context, c worker.Command) error {
			seen = append(seen, strings.Join(append(c.Args, c.Env...), " ")+" in "+c.Dir)
			return nil
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		canary := threeSteps()
		canary.Steps, canary.Check = []int{50, 10_000}, []string{"/bin/sh", "-c", "look"}
		want(t, s, switchWith(t, s, "r2", canary), Done, "r2")
		line := "/bin/sh -c look A=b SUPERCTL_APP=shop SUPERCTL_CHANGE=switch SUPERCTL_WHO=the test SUPERCTL_RELEASE=r2 SUPERCTL_COMMIT= SUPERCTL_PREVIOUS=r1 SUPERCTL_PREVIOUS_COMMIT= SUPERCTL_GENERATION=2 SUPERCTL_CANARY_SHARE=%s SUPERCTL_CANARY_NETWORKS= in /r/r2"
		if want := []string{
			strings.Replace(line, "%s", "0.5", 1), strings.Replace(line, "%s", "100", 1),
		}; !slices.Equal(seen, want) {
			t.Errorf("checks %q", seen)
		}
	})
}

func TestWhateverEndsACanaryTakesItsPartAwayFirstAndThenLetsItFinish(t *testing.T) {
	const slow = 20 * time.Second // that a worker takes to finish, longer than one without requests may
	check := func(c *Canary) { c.Check = []string{"/bin/sh"} }
	for name, tc := range map[string]struct {
		how    behaviour
		canary func(*Canary)
		check  func(ctx context.Context) error
		hangUp time.Duration // after the beginning of the switch; 0 = not
		ends   time.Duration // after the first share, the part must be taken away
		says   string
		starts int // workers of the release
	}{
		"a check that fails": {
			canary: check, check: func(context.Context) error { return errors.New("exit code 1") },
			ends: 2 * time.Minute, says: `canary: at 1 %: check "/bin/sh": exit code 1`, starts: 1,
		},
		"a check that hangs": {
			canary: check, check: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
			ends: 3 * time.Minute, says: `check "/bin/sh": not finished within 1 min`, starts: 1,
		},
		"an answer in the last step": {
			how:  behaviour{answer: func(n int) int { return map[bool]int{true: 200, false: 503}[n < 4*60*5] }},
			ends: 299 * time.Second, says: "at 50 %: web: ", starts: 1,
		},
		"an answer while the check runs": {
			how:    behaviour{answer: func(n int) int { return map[bool]int{true: 200, false: 503}[n < 4*130] }},
			canary: check, check: func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(5 * time.Second)
				return errors.New("signal: killed")
			},
			ends: 129 * time.Second, says: "at 1 %: web: ", starts: 1,
		},
		"a death": {
			how:  behaviour{exitAfter: 150*time.Second + 100*time.Millisecond},
			ends: 150 * time.Second, says: "at 10 %: web.0 ended after", starts: 2,
		},
		"a client that hangs up": {hangUp: time.Minute, ends: 59 * time.Second, says: "hung up", starts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				tc.how.stopTakes = slow
				w.releases["r1"], w.releases["r2"] = behaviour{}, tc.how
				w.plan = func(p Plan) Plan { p.Hooks.Timeout = time.Minute; return p }
				w.hooks = func(ctx context.Context, _ worker.Command) error { return tc.check(ctx) }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				settled := 0
				w.gate.settles = func(gen int) Settled {
					settled++
					if last := w.gate.shares(); gen != 2 || last[len(last)-1] != 0 || w.procs[len(w.procs)-1].stopped {
						t.Errorf("settle of %d: shares %v", gen, last)
					}
					return Settled{}
				}
				canary := threeSteps()
				if tc.canary != nil {
					tc.canary(canary)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.hangUp > 0 {
					ctx, cancel = context.WithTimeout(ctx, tc.hangUp)
					defer cancel()
				}
				out, err := s.Change(ctx, Request{Kind: Switch, Release: "r2", Canary: canary}, func(Event) {})
				if err != nil {
					t.Fatal(err)
				}
				want(t, s, out, Aborted, "r1")
				if !strings.Contains(out.Error, tc.says) {
					t.Errorf("error %q does not say %q", out.Error, tc.says)
				}
				w.gate.settles = nil
				parts := w.gate.parts
				if d := parts[len(parts)-1].at.Sub(parts[0].at).Truncate(time.Second); d != tc.ends || settled == 0 {
					t.Errorf("its part was taken away after %s, not %s; settled %d times", d, tc.ends, settled)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(w.procs) != 1+tc.starts ||
					slices.ContainsFunc(w.procs, func(p *fakeProc) bool { return p.killed }) {
					t.Errorf("%d workers were started, or one was killed", len(w.procs))
				}
				if !w.procs[0].alive() || w.procs[0].stopped || w.pointed != "r1" ||
					!slices.Equal(w.gate.turns, []int{1}) {
					t.Error("the live release was touched")
				}
				if st := s.Status(); len(st.Generations) != 1 || st.Changing != nil {
					t.Errorf("left: %+v", st)
				}
			})
		})
	}
}

func TestOfSeveralListenersOnlyThoseThatCanBeDividedHaveAPartInACanary(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		admin := w.newGate("admin")
		admin.kind = "rename"
		w.options = func(o *Options) { o.Gates = append(o.Gates, admin) }
		w.plan = func(p Plan) Plan { p.Processes[0].Listen = []string{"web", "admin"}; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchWith(t, s, "r2", threeSteps())
		want(t, s, out, Done, "r2")
		if len(w.gate.parts) != 3 || len(admin.parts) != 0 || admin.live != 2 {
			t.Errorf("web %+v, admin %+v", w.gate.parts, admin.parts)
		}
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], `listener "admin"`) {
			t.Errorf("warnings %q", out.Warnings)
		}
	})
}

func TestTheGateTurnsBackBeforeWhatADeadWorkerHasLeftIsEnded(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{
			exitAfter: 30 * time.Second, leaves: 5 * time.Second,
		}
		w.plan = func(p Plan) Plan {
			p.Processes[0].Health.HealthyAfter, p.Processes[0].Health.Interval = 1, time.Hour
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchWith(t, s, "r2", threeSteps())
		want(t, s, out, Aborted, "r1")
		if parts := w.gate.parts; len(parts) != 2 || parts[1].share != 0 ||
			parts[1].at.Sub(w.procs[1].born) != 30*time.Second {
			t.Errorf("parts %+v", parts)
		}
	})
}

func TestARollbackEndsACanary(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		first := make(chan *Outcome)
		go func() {
			out, err := s.Change(
				t.Context(), Request{Kind: Switch, Release: "r2", Canary: threeSteps()}, func(Event) {},
			)
			if err != nil {
				t.Error(err)
			}
			first <- out
		}()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		_, err := s.Change(t.Context(), Request{Kind: Switch, Release: "r1"}, func(Event) {})
		var busy *BusyError
		if !errors.As(err, &busy) || !strings.Contains(err.Error(), "canary since") {
			t.Errorf("another switch: %v", err)
		}
		out := change1(t, s, Request{Kind: Rollback}) // though no release was live before
		want(t, s, out, Done, "r1")
		if !out.Changed || out.Release != "r1" || out.Previous != "r2" {
			t.Errorf("rollback: %+v", out)
		}
		if out.Seconds >= (3*time.Minute).Seconds() || !out.Started.Add(time.Minute).After(time.Now()) {
			t.Errorf("the rollback began at %s and took %g s: those are the times of the canary", out.Started, out.Seconds)
		}
		if o := <-first; o.Result != Aborted ||
			!strings.Contains(o.Error, "at 10 %: rolled back by the test during its canary") {
			t.Errorf("switch: %s %s", o.Result, o.Error)
		}
		if got := w.gate.shares(); !slices.Equal(got, []int{100, 1000, 0}) || !slices.Equal(w.gate.turns, []int{1}) {
			t.Errorf("shares %v, turns %v", got, w.gate.turns)
		}
	})
}

func TestWhatIsQueuedForAWorkerThatDiesInACanaryIsServedByItsSuccessor(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{
			exitAfter: 30 * time.Second, answerAfter: 8 * time.Second,
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.gate.settles = func(int) Settled {
			if time.Since(w.procs[2].born) < 8*time.Second {
				time.Sleep(5 * time.Second)
				return Settled{Left: 3}
			}
			return Settled{}
		}
		out := switchWith(t, s, "r2", threeSteps())
		w.gate.settles = nil
		want(t, s, out, Aborted, "r1")
		if len(out.Warnings) != 0 || len(out.Log) == 0 {
			t.Errorf("warnings %q, log %q", out.Warnings, out.Log)
		}
		if last := w.procs[2]; time.Since(last.born) < 8*time.Second || last.killed {
			t.Errorf("it was stopped after %s", time.Since(last.born))
		}
	})
}
