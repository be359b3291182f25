package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

func TestABrokenReleaseIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		be   apps.Behaviour
		opt  harness.Options
		says []string
	}{
		"import error": {be: apps.Behaviour{Fault: apps.ImportError}, says: []string{"shop_payments"}},
		"exits at once": {be: apps.Behaviour{Fault: apps.ExitsAtOnce}, says: []string{
			"exit code 7", "the licence has run out",
		}},
		"exits after 3 s": {be: apps.Behaviour{Fault: apps.ExitsLater, Seconds: 3}, says: []string{
			"exit code 1", "no database",
		}},
		"answers 500": {
			be: apps.Behaviour{Fault: apps.Error500}, opt: harness.Options{Health: `unhealthy_after = "100ms"`},
			says: []string{"500", "cannot reach the catalogue"},
		},
		"answers slowly": {
			be:   apps.Behaviour{Fault: apps.Slow, Seconds: 3},
			opt:  harness.Options{Web: `start_timeout = "3s"`, Health: `timeout = "500ms"`},
			says: []string{"within 500ms"},
		},
		"never answers": {
			be:   apps.Behaviour{Fault: apps.Hang},
			opt:  harness.Options{Web: `start_timeout = "3s"`, Health: `timeout = "500ms"`},
			says: []string{"within 500ms"},
		},
		"answers sometimes": {be: apps.Behaviour{Fault: apps.Sometimes}, says: []string{"only sometimes"}},
		"listens elsewhere": {
			be:  apps.Behaviour{Fault: apps.ListensElsewhere},
			opt: harness.Options{Web: `start_timeout = "3s"`, Health: `timeout = "500ms"`}, says: []string{"web"},
		},
		"no virtualenv": {be: apps.Behaviour{Fault: apps.NoVirtualenv}, says: []string{"virtualenv"}},
		"half copied":   {be: apps.Behaviour{Fault: apps.HalfCopied}, says: []string{".incomplete"}},
		"without permission": {
			be: apps.Behaviour{Fault: apps.Unreadable}, opt: harness.Options{Top: `user = "nobody"`},
			says: []string{"permission denied"},
		},
		"no such release": {says: []string{"no release"}},
		"the migration failed": {
			be:   apps.Behaviour{},
			opt:  harness.Options{More: "[hooks]\nbefore = [['python', '-c', 'import sys; sys.exit(\"no such table\")']]"},
			says: []string{"before", "no such table"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.be.Fault.InApplication() {
				c.opt.Server = harness.GunicornThreads()
			}
			a := harness.New(t, run, c.opt)
			a.Releases("good")
			if name != "no such release" {
				a.Release("bad", c.be)
			}
			// The good release has all the time that it needs.
			a.Options.More, a.Options.Web, a.Options.Health = "", "", ""
			a.WriteConfig()
			a.Start("good")
			a.Options.More, a.Options.Web, a.Options.Health = c.opt.More, c.opt.Web, c.opt.Health
			a.WriteConfig()
			before := a.Status()
			requests := a.Load(requestsOfAFewUsers())
			refused := a.Command("switch", "bad")
			if refused.Code != 1 {
				t.Errorf("exit code %d\n%s", refused.Code, refused.Text())
			}
			for _, words := range c.says {
				if !strings.Contains(refused.Text(), words) {
					t.Errorf("it does not say %q:\n%s", words, refused.Text())
				}
			}
			a.More(requests, 10)
			a.Lossless(requests)
			after := a.Status()
			if after.Generation != before.Generation || after.Release != "good" || after.Health != "ok" ||
				a.Live(after).Workers[0].PID != a.Live(before).Workers[0].PID {
				t.Errorf("before %+v\nafter %+v", before, after)
			}
			if to, err := filepath.EvalSymlinks(a.Path("current")); err != nil || filepath.Base(to) != "good" {
				t.Errorf("current points to %s (%v)", to, err)
			}
		})
	}
}

func TestAReleaseThatDiesAfterItsCutoverIsReverted(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Server: harness.GunicornThreads(), Top: `probation = "20s"`})
	a.Releases("good")
	a.Release("dies", apps.Behaviour{Fault: apps.DiesAfterCutover, Seconds: 3})
	a.Start("good")
	requests := a.Load(requestsOfAFewUsers())
	a.Command("switch", "dies").Want(5).Says("the spool is damaged", "good is live again")
	a.More(requests, 20)
	// Requests in flight in the worker fail when it dies; those after the revert succeed.
	revert := a.Status()
	res := requests.Stop()
	for _, r := range res.Failed() {
		if r.Begun.After(revert.Generations[0].Since) && revert.Generations[0].State == "live" {
			t.Errorf("after the revert: %+v", r)
		}
	}
	if revert.Release != "good" || revert.Health != "ok" {
		t.Errorf("%+v", revert)
	}
	history := a.Command("history").Want(0).Text()
	if !strings.Contains(history, "reverted") && !strings.Contains(history, "taken back") {
		t.Errorf("history:\n%s", history)
	}
}

func TestANewReleaseOnDiskDoesNotAffectTheLiveOne(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("good", "other")
	a.Start("good")
	// A deployment tool moves `current` and copies other files into the directory of releases.
	if err := os.Remove(a.Path("current")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(a.Path("releases", "broken"), a.Path("current")); err != nil {
		t.Fatal(err)
	}
	a.Release("broken", apps.Behaviour{Fault: apps.ImportError})
	worker := a.Live(a.Status()).Workers[0].PID
	kill(t, worker)
	harness.Eventually(t, "it is started again", func() bool {
		w := a.Live(a.Status()).Workers[0]
		return w.PID != worker && w.State == "ready"
	})
	requests := a.Load(requestsOfAFewUsers())
	for _, r := range a.Lossless(requests).Records {
		if r.Release != "good" {
			t.Fatalf("%s answers", r.Release)
		}
	}
}
