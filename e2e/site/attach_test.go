package site

import (
	"io"
	"os"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// migration is a `before` hook like a migration: Python, at work until the test writes a line to the
// FIFO that it reads. "fail" makes it fail.
const migration = `[hooks]
before = [["python", "-c", "import os; print('migra' + 'ting', flush=True); word = open(os.environ['PIPE']).readline(); ` +
	`print('migra' + 'ted', flush=True); exit(word == 'fail\\n')"]]
after = [["python", "-c", "import os; open(os.environ['PIPE'] + '.after', 'w').close()"]]
`

// migrates is a site whose switches need the word of the test.
func migrates(t *testing.T) (a *harness.App, say func(word string)) {
	t.Helper()
	a = harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	pipe := mkfifo(t, a.Path("pipe"))
	a.Options.Env, a.Options.More = "PIPE = \""+a.Path("pipe")+"\"\n", migration
	a.WriteConfig()
	return a, func(word string) {
		if _, err := io.WriteString(pipe, word+"\n"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAMigrationOutlivesTheClientThatBeganIt(t *testing.T) {
	t.Parallel()
	a, say := migrates(t)
	requests := a.Load(requestsOfAFewUsers())
	ssh := a.StartSSH()
	begin := func(args ...string) *harness.Command { return a.Begin(args...) }
	for name, client := range map[string]struct {
		begin func(args ...string) *harness.Command
		ends  func(*harness.Command)
	}{
		"SIGKILL":             {begin, (*harness.Command).Kill},
		"SIGHUP":              {begin, (*harness.Command).HangUp},
		"the client over ssh": {ssh.Begin, (*harness.Command).Kill},
	} {
		first := client.begin("switch", "r2")
		first.Await("migrating")
		client.ends(first)
		first.Wait()
		follower := a.Begin("attach")
		follower.Await("migrating")
		say("go")
		follower.Wait().Want(0).Says("migrated", "cutover", "r2 is live (was r1)")
		if err := os.Remove(a.Path("pipe.after")); err != nil {
			t.Errorf("%s: the after hook: %v", name, err)
		}
		back := a.Begin("rollback")
		back.Wait().Want(0)
		if err := os.Remove(a.Path("pipe.after")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.Lossless(requests)
}

func TestAChangeIsCanceledFromASecondTerminalUntilItsCutover(t *testing.T) {
	t.Parallel()
	a, say := migrates(t)
	a.Options.Top = `probation = "1h"` // of the switches to come
	a.WriteConfig()
	a.Command("cancel").Want(0).Says("nothing to cancel")
	first := a.Begin("switch", "r2")
	first.Await("migrating")
	follower := a.Begin("attach")
	follower.Await("migrating")
	a.Command("cancel", "--why", "it locks the orders").Want(0).Says("the switch to r2 is canceled in step before",
		"r1 is still live, untouched")
	for _, c := range []*harness.Command{first, follower, a.Command("attach")} {
		c.Wait().Want(1).Says("canceled by", ": it locks the orders", "r1 is still live")
	}
	a.Command("history", "-n", "1").Want(0).Says("it locks the orders")

	first = a.Begin("switch", "r2")
	first.Await("migrating")
	say("go")
	at(t, a, "probation")
	a.Command("cancel").Want(1).Says("cannot be canceled any more", "superctl rollback ends it and goes back")
	a.Command("rollback").Want(0)
	first.Wait().Want(5)
	a.Command("attach").Want(5).Says("no change is in progress; the last one, switch by")
}

func TestAttachExitsAsTheCommandThatBeganTheChange(t *testing.T) {
	t.Parallel()
	a, say := migrates(t)
	for _, end := range []struct {
		word string
		code int
	}{{"fail", 1}, {"go", 0}} { // in this order: after "go" there is nothing to do
		word, code := end.word, end.code
		a.Command("switch", "r2", "--detach").Want(0).Says("the switch to r2 continues in the daemon", "superctl attach follows it")
		follower, other := a.Begin("attach"), a.Begin("attach", "--json")
		follower.Await("migrating")
		say(word)
		if got := other.Wait().Want(code).Outcome(); got.Release != "r2" || (got.Result == "done") != (code == 0) {
			t.Errorf("%s: %+v", word, got)
		}
		follower.Wait().Want(code)
		a.Command("attach").Want(code).Says("no change is in progress; the last one")
	}
	a.Command("switch", "r3", "--detach").Want(1).Says("r3")
	if got := a.Command("switch", "r2", "--detach", "--json").Want(0).Outcome(); got.Changed || got.Result != "done" {
		t.Errorf("nothing to do: %+v", got)
	}
}

func TestAttachEndsWithADaemonThatIsKilledAndTheNextOneHasTheOutcome(t *testing.T) {
	t.Parallel()
	a, _ := migrates(t)
	first := a.Begin("switch", "r2")
	first.Await("migrating")
	follower := a.Begin("attach")
	follower.Await("migrating")
	a.Daemon.Kill()
	first.Wait().Want(3).Says("superctl attach shows it")
	follower.Wait().Want(3).Says("superctl attach shows it")
	a.Command("cancel").Want(3)
	if err := a.Launch().Ready(); err != nil {
		t.Fatal(err)
	}
	a.Command("attach").Want(1).Says("no change is in progress; the last one, switch by", "the daemon ended before the cutover")
}

func TestADetachedChangeWhoseDaemonDiesEndsAsAttachSays(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Top: `probation = "100ms"`})
	a.Releases("r1", "r2")
	w := &walk{App: a, t: t, faults: t.TempDir()}
	w.launch()
	a.Command("switch", "r1").Want(0)
	pipe := mkfifo(t, a.Path("pipe"))
	a.Options.Env, a.Options.More = "PIPE = \""+a.Path("pipe")+"\"\n", migration
	a.WriteConfig()
	requests := a.Load(requestsOfAFewUsers())
	for _, death := range []struct {
		point string
		code  int // of attach
		says  string
		after bool // the after hook runs
	}{
		{"switch: after before", 1, "the daemon ended before the cutover", false},
		{"switch: before cutover", 1, "the daemon ended before the cutover", false},
		{"switch: after cutover", 0, "r2 is live (was r1)", true},
	} {
		a.Command("switch", "r2", "--detach").Want(0)
		follower := a.Begin("attach")
		follower.Await("migrating")
		w.arm(death.point)
		if _, err := io.WriteString(pipe, "go\n"); err != nil {
			t.Fatal(err)
		}
		w.gone()
		follower.Wait().Want(3).Says("superctl attach shows it")
		w.launch()
		w.settled()
		a.Command("attach").Want(death.code).Says("no change is in progress; the last one, switch by", death.says)
		if _, err := os.Stat(a.Path("pipe.after")); (err == nil) != death.after {
			t.Errorf("%s: the after hook: %v", death.point, err)
		}
	}
	a.Lossless(requests)
	w.end()
}

func TestCtrlCInAttachLeavesTheChangeAlone(t *testing.T) {
	t.Parallel()
	a, say := migrates(t)
	first := a.Begin("switch", "r2")
	first.Await("migrating")
	follower := a.Begin("attach")
	follower.Await("migrating")
	follower.Interrupt()
	follower.Wait().Want(1).Says("the change continues")
	waits := a.Begin("reload", "--wait-lock", "1h")
	waits.Await("wait")
	waits.Interrupt()
	waits.Wait().Want(1).Says("had not begun")
	if c := a.Status().Changing; c == nil || c.Step != "before" || !strings.HasPrefix(c.Kind, "switch") {
		t.Errorf("%+v", c)
	}
	say("go")
	first.Wait().Want(0).Says("r2 is live")
}
