package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// hooked gives every plan of the world a hook of each kind, which are noted in the order in which
// they run. The one that is called fail fails.
type hooked struct {
	ran    []string
	env    map[string]string // of the last one
	fail   string
	hang   string
	forget func(*Hooks)
}

func newHooked(w *world) *hooked {
	h := &hooked{}
	w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
	w.releases["dies"] = behaviour{exitAfter: 4 * time.Second}
	w.releases["broken"] = behaviour{exitAfter: time.Millisecond}
	w.plan = func(p Plan) Plan {
		p.Hooks = Hooks{
			Before: [][]string{{"before"}}, After: [][]string{{"after"}}, OnAbort: [][]string{{"on_abort"}},
			OnRevert: [][]string{{"on_revert"}},
			Timeout:  time.Minute, Dir: p.Release.Path, Env: []string{"HOME=/home/shop"},
		}
		if h.forget != nil {
			h.forget(&p.Hooks)
		}
		return p
	}
	w.hooks = func(ctx context.Context, c worker.Command) error {
		h.ran = append(h.ran, c.Args[0]+" in "+c.Dir)
		h.env = map[string]string{}
		for _, kv := range c.Env {
			name, value, _ := strings.Cut(kv, "=")
			h.env[name] = value
		}
		switch c.Args[0] {
		case h.hang:
			<-ctx.Done()
			return context.Cause(ctx)
		case h.fail:
			return errors.New("exit code 1")
		}
		return nil
	}
	return h
}

// took returns what has run since the last call.
func (h *hooked) took() []string {
	ran := h.ran
	h.ran = nil
	return ran
}

func (h *hooked) wants(t *testing.T, names ...string) {
	t.Helper()
	if got := h.took(); !slices.Equal(got, names) {
		t.Errorf("hooks ran: %q, want %q", got, names)
	}
}

func TestEachOutcomeHasItsHooksInTheReleaseThatTheChangeWentTo(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := newHooked(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		h.wants(t, "before in /r/r1", "after in /r/r1")
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		h.wants(t, "before in /r/r2", "after in /r/r2")
		for name, value := range map[string]string{
			"HOME": "/home/shop", "SUPERCTL_APP": "shop", "SUPERCTL_CHANGE": "switch", "SUPERCTL_WHO": "the test",
			"SUPERCTL_RELEASE":  "r2",
			"SUPERCTL_PREVIOUS": "r1", "SUPERCTL_OUTCOME": "done",
		} {
			if h.env[name] != value {
				t.Errorf("%s=%s, want %s", name, h.env[name], value)
			}
		}
		out := switchTo(t, s, "broken")
		want(t, s, out, Aborted, "r2")
		h.wants(t, "before in /r/broken", "on_abort in /r/broken")
		if h.env["SUPERCTL_OUTCOME"] != "aborted" || h.env["SUPERCTL_ERROR"] != out.Error || out.Error == "" {
			t.Errorf("%q, error %q", h.env, out.Error)
		}
		out = switchTo(t, s, "dies")
		want(t, s, out, Reverted, "r2")
		h.wants(t, "before in /r/dies", "on_revert in /r/dies")
		if h.env["SUPERCTL_OUTCOME"] != "reverted" || h.env["SUPERCTL_ERROR"] != out.Error ||
			h.env["SUPERCTL_PREVIOUS"] != "r2" {
			t.Errorf("%q, error %q", h.env, out.Error)
		}
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "web"}), Done, "r2")
		switchTo(t, s, "no such release")
		switchTo(t, s, "r2")
		h.wants(t)
		want(t, s, change1(t, s, Request{Kind: Reload}), Done, "r2")
		h.wants(t, "before in /r/r2", "after in /r/r2")
	})
}

func TestARollbackRunsBeforeHooksOnlyWhereItIsAskedTo(t *testing.T) {
	for _, warm := range []bool{false, true} {
		t.Run(fmt.Sprintf("warm %t", warm), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				h := newHooked(w)
				asked := false
				h.forget = func(hooks *Hooks) { hooks.BeforeRollback = asked }
				plan := w.plan
				w.plan = func(p Plan) Plan {
					if p = plan(p); warm {
						p.Standby = time.Hour
					}
					return p
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				switchTo(t, s, "r2")
				h.took()
				want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
				h.wants(t, "after in /r/r1")
				asked = true
				want(t, s, switchTo(t, s, "r2"), Done, "r2")
				want(t, s, change1(t, s, Request{Kind: Reload}), Done, "r2")
				want(t, s, switchTo(t, s, "r1"), Done, "r1")
				h.took()
				started := len(w.procs)
				want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r2")
				h.wants(t, "before in /r/r2", "after in /r/r2")
				if warm != (len(w.procs) == started) {
					t.Errorf("%d workers were started", len(w.procs)-started)
				}
				h.fail = "before"
				want(t, s, change1(t, s, Request{Kind: Rollback}), Aborted, "r2")
				h.wants(t, "before in /r/r1", "on_abort in /r/r1")
			})
		})
	}
}

func TestAHookThatFailsAfterTheDecisionIsReportedAndChangesNothing(t *testing.T) {
	for hook, c := range map[string]struct {
		release string
		result  Result
		live    string
	}{
		"before": {"r2", Aborted, "r1"}, "after": {"r2", Done, "r2"}, "on_abort": {
			"broken", Aborted, "r1",
		}, "on_revert": {"dies", Reverted, "r1"},
	} {
		for _, how := range []string{"fails", "hangs"} {
			t.Run(hook+" "+how, func(t *testing.T) {
				virtual(t, func(t *testing.T, w *world) {
					h := newHooked(w)
					s, stop := w.supervisor(t.TempDir())
					defer stop()
					switchTo(t, s, "r1")
					says := `hook "` + hook + `": exit code 1`
					if how == "fails" {
						h.fail = hook
					} else {
						h.hang, says = hook, `hook "`+hook+`": not finished within 1m0s`
					}
					out := switchTo(t, s, c.release)
					want(t, s, out, c.result, c.live)
					reported := strings.Join(out.Warnings, "\n")
					if hook == "before" {
						reported = out.Error
					}
					if !strings.Contains(reported, says) {
						t.Errorf("not reported: %q, error %q", out.Warnings, out.Error)
					}
					want(t, s, switchTo(t, s, "r1"), Done, "r1") // it is not stuck
				})
			})
		}
	}
}

func TestAClientThatHangsUpEndsABeforeHookAndOnAbortRunsAllTheSame(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := newHooked(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		h.took()
		h.hang = "before"
		ctx, hangUp := context.WithCancel(context.Background())
		time.AfterFunc(30*time.Second, hangUp)
		out, err := s.Change(ctx, Request{Kind: Switch, Release: "r2", Who: "the test"}, func(Event) {})
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, out, Aborted, "r1")
		h.wants(t, "before in /r/r2", "on_abort in /r/r2")
		if !strings.Contains(out.Error, errHungUp.Error()) {
			t.Error(out.Error)
		}
	})
}

func TestTheEndOfTheDaemonEndsEveryHookAndStartsNone(t *testing.T) {
	for hook, release := range map[string]string{
		"before": "r2", "after": "r2", "on_abort": "broken", "on_revert": "dies",
	} {
		t.Run(hook, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				h := newHooked(w)
				s, stop := w.supervisor(t.TempDir())
				switchTo(t, s, "r1")
				h.took()
				h.hang = hook
				ended := make(chan struct{})
				go func() { switchTo(t, s, release); close(ended) }()
				time.Sleep(50 * time.Second) // less than the hook's limit
				synctest.Wait()
				began := time.Now()
				stop()
				<-ended
				if took := time.Since(began); took > time.Second {
					t.Errorf("the end took %s", took)
				}
				if last := h.ran[len(h.ran)-1]; last != hook+" in /r/"+release {
					t.Errorf("ran: %q", h.ran)
				}
			})
		})
	}
}

func TestWhatAHookWritesIsBoundedForTheClientAndForTheHistory(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		newHooked(w)
		const lines = 10_000
		w.says = func(c worker.Command, line func(string)) {
			if c.Args[0] != "before" {
				return
			}
			for i := range lines {
				line(fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%5000)))
				if i%1000 == 999 {
					time.Sleep(time.Second)
				}
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		var shown []string
		var steps []string
		out, err := s.Change(context.Background(), Request{
			Kind: Switch, Release: "r1", Who: "the test",
		}, func(ev Event) {
			switch ev.Type {
			case "output":
				if ev.Step == stepBefore {
					shown = append(shown, ev.Detail)
				}
			case "end":
				steps = append(steps, ev.Step)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, out, Done, "r1")
		if n := len(shown); n < outputBurst/4 || n > outputBurst+outputRate*lines/1000+500 {
			t.Errorf("the client got %d lines", n)
		}
		if shown[0] != "$ before" || !strings.HasPrefix(shown[len(shown)-1], fmt.Sprintf("line %d ", lines-1)) {
			t.Errorf("from %.20q to %.20q", shown[0], shown[len(shown)-1])
		}
		if !slices.Contains(steps, stepBefore) || !slices.Contains(steps, stepAfter) {
			t.Errorf("steps: %q", steps)
		}
		before := w.records[len(w.records)-1].Steps[1]
		size := 0
		for _, l := range before.Output {
			size += len(l)
		}
		if before.Name != stepBefore || len(before.Output) < 2 || len(before.Output) > outputKept+1 ||
			size > outputBytes+100 {
			t.Errorf("%s: %d lines, %d bytes in the history", before.Name, len(before.Output), size)
		}
		if lost := fmt.Sprintf(
			"... %d lines before these are left out", lines+2-len(before.Output),
		); before.Output[0] != lost {
			t.Errorf("%q, want %q", before.Output[0], lost)
		}
		if s.Status().Last.Steps[1].Output != nil {
			t.Error("the status has the output too")
		}
	})
}

func TestFewLinesOfAHookAreAllShownAndKept(t *testing.T) {
	var shown []string
	tr := newTranscript("before", func(ev Event) bool { shown = append(shown, ev.Detail); return true }, strings.Clone)
	for i := range outputKept {
		tr.add(fmt.Sprint(i))
	}
	if kept := tr.end(); len(shown) != outputKept || !slices.Equal(shown, kept) {
		t.Errorf("shown %d, kept %d", len(shown), len(kept))
	}
}

// A change whose gate had turned is finished by the next daemon, with its hooks.
func TestTheNextDaemonRunsTheHooksOfAChangeThatItFinishes(t *testing.T) {
	for at, c := range map[string]struct{ release, runs string }{
		"switch: after before":   {"r2", ""},
		"switch: before cutover": {"r2", ""},
		"switch: before settle":  {"r2", "after in /r/r2"},
		"switch: after retire":   {"r2", "after in /r/r2"},
		"switch: before after":   {"r2", "after in /r/r2"},
		"switch: before revert":  {"dies", "on_revert in /r/dies"},
	} {
		t.Run(at, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				h := newHooked(w)
				dir, copied := t.TempDir(), t.TempDir()
				first, stopFirst := w.supervisor(dir)
				switchTo(t, first, "r1")
				dead := freezesAt(t, first, at, dir, copied)
				go switchTo(t, first, c.release)
				time.Sleep(time.Minute)
				synctest.Wait()
				w.startNothing()
				h.took()
				_, stop := w.supervisor(copied)
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := strings.Join(h.took(), ", "); got != c.runs {
					t.Errorf("hooks ran: %q, want %q", got, c.runs)
				}
				if c.runs != "" && (h.env["SUPERCTL_CHANGE"] != "switch" || h.env["SUPERCTL_PREVIOUS"] != "r1") {
					t.Errorf("%q", h.env)
				}
				stop()
				w.bury(dead, stopFirst)
			})
		})
	}
}

func TestEachStrategyHasTheHooksOfItsOutcome(t *testing.T) {
	for _, strategy := range []Strategy{Overlap, Rolling, Hold} {
		t.Run(string(strategy), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				h := newHooked(w)
				inner := w.plan
				w.plan = func(p Plan) Plan {
					p = inner(p)
					p.Processes[0].Strategy, p.Processes[0].Hold, p.Processes[0].Instances, p.Processes[0].Surge = strategy, 10*time.Second, 2, 1
					return p
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				h.took()
				want(t, s, switchTo(t, s, "broken"), Aborted, "r1")
				h.wants(t, "before in /r/broken", "on_abort in /r/broken")
				h.fail = "before"
				want(t, s, switchTo(t, s, "r2"), Aborted, "r1")
				h.wants(t, "before in /r/r2", "on_abort in /r/r2")
				h.fail = ""
				want(t, s, switchTo(t, s, "r2"), Done, "r2")
				h.wants(t, "before in /r/r2", "after in /r/r2")
			})
		})
	}
}

// The next daemon runs the `after` hooks that the last one could not end. An `on_revert` hook is not run
// twice.
func TestTheNextDaemonRunsOnlyAnAfterHookAgain(t *testing.T) {
	for hook, c := range map[string]struct {
		release string
		again   []string
	}{
		"after":     {"r2", []string{"after in /r/r2"}},
		"on_revert": {"dies", nil},
	} {
		t.Run(hook, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				h := newHooked(w)
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				h.hang = hook
				ended := make(chan struct{})
				go func() { switchTo(t, s, c.release); close(ended) }()
				time.Sleep(50 * time.Second)
				synctest.Wait()
				leaveNow(s)
				stop()
				<-ended
				h.hang = ""
				h.took()
				_, stop = w.supervisor(dir)
				time.Sleep(time.Minute)
				synctest.Wait()
				h.wants(t, c.again...)
				stop()
			})
		})
	}
}
