package site

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"superctl/e2e/harness"
	"superctl/proc"
)

// vaulted returns an app whose secrets.command prints the file vault and counts its runs.
func vaulted(t *testing.T, more string) *harness.App {
	t.Helper()
	a := harness.New(t, run, harness.Options{})
	a.WriteFile("vault.sh", "#!/bin/sh\necho run >> "+a.Path("runs")+"\n. "+a.Path("adapter")+"\n")
	if err := os.Chmod(a.Path("vault.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.WriteFile("adapter", "cat "+a.Path("vault"))
	a.WriteFile("runs", "")
	a.Options.More = fmt.Sprintf("[secrets]\ncommand = [%q]\n%s", a.Path("vault.sh"), more)
	a.WriteConfig()
	return a
}

// runsOf returns how often secrets.command has run.
func runsOf(t *testing.T, a *harness.App) int {
	t.Helper()
	data, err := os.ReadFile(a.Path("runs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), "run\n")
}

// respawned kills the live worker and returns the environment of its successor.
func respawned(t *testing.T, a *harness.App) map[string]string {
	t.Helper()
	worker := a.Live(a.Status()).Workers[0].PID
	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "another worker serves", func() bool {
		live := a.Live(a.Status())
		return len(live.Workers) > 0 && live.Workers[0].PID != worker && live.Workers[0].PID != 0 &&
			live.Workers[0].State == "ready"
	})
	return environ(t, a)
}

func TestNoSecretOfACommandIsPrintedOrStored(t *testing.T) {
	t.Parallel()
	const first, second, lost = "cAnArY-first-7f3a", "cAnArY-second-9b1c", "cAnArY-lost-5d2e"
	a := vaulted(t, "required = [\"SECRET_KEY\"]\n[hooks]\nbefore = [[\"sh\", \"-c\", "+
		"\"env; echo SECRET_KEY=$SECRET_KEY $PEM >&2; [ $SUPERCTL_RELEASE != bad ]\"]]\n")
	vault := func(key string) string {
		return fmt.Sprintf("SECRET_KEY=%s\nPEM=\"-----BEGIN-----\n%s\n-----END-----\n\"\nWORD=shop\n", key, key)
	}
	a.WriteFile("vault", vault(first)+"OLD=1\n")
	a.Releases("r1", "r2", "bad")
	a.Start("r1")
	var told strings.Builder
	say := func(c *harness.Command) *harness.Command { told.WriteString(c.Text()); return c }
	env := environ(t, a)
	if env["SECRET_KEY"] != first || env["PEM"] != "-----BEGIN-----\n"+first+"\n-----END-----\n" || env["OLD"] != "1" {
		t.Errorf("a worker has %q and %q", env["SECRET_KEY"], env["PEM"])
	}
	exec := a.Command("exec", "sh", "-c", "echo $SECRET_KEY").Want(0)
	if exec.Stdout() != first+"\n" {
		t.Errorf("exec has %q", exec.Text())
	}

	a.WriteFile("vault", vault(second)+"NEW=1\n")
	before := runsOf(t, a)
	say(a.Command("switch", "bad")).Want(1).Says("SECRET_KEY=***", "variables")
	if env = environ(t, a); env["SECRET_KEY"] != first {
		t.Errorf("after a refused switch a worker has %q", env["SECRET_KEY"])
	}
	if exec := a.Command("exec", "sh", "-c", "echo $SECRET_KEY").Want(0); exec.Stdout() != first+"\n" {
		t.Errorf("after a refused switch exec has %q", exec.Text())
	}
	if n := runsOf(t, a) - before; n != 1 {
		t.Errorf("a change ran the command %d times", n)
	}
	say(a.Command("switch", "r2", "--plan")).Want(0).
		Says("variables: added NEW; removed OLD; changed PEM, SECRET_KEY", "before: sh -c env;", "r2 would be made live")
	say(a.Command("switch", "r2")).Want(0).Says("variables: added NEW; removed OLD; changed PEM, SECRET_KEY")

	a.WriteFile("adapter", "echo "+lost+"; echo "+second+" "+lost+" >&2; exit 3")
	say(a.Command("reload")).Want(1).Says("exit code 3", "*** ***", "r2 is still live")
	daemon := a.Daemon.Output()
	a.Daemon.Kill()
	launch := func() {
		t.Helper()
		if err := a.Launch().Ready(); err != nil {
			t.Fatalf("%v\n%s", err, a.Daemon.Output())
		}
	}
	launch()
	if env = respawned(t, a); env["SECRET_KEY"] != second {
		t.Errorf("a worker of the next daemon has %q", env["SECRET_KEY"])
	}
	texts := everythingTold(t, a)
	texts["commands"], texts["the first daemon's log"] = told.String(), daemon
	for where, text := range texts {
		for _, secret := range []string{first, second, lost} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s has %s: %q", where, secret, text[max(at-200, 0):at+len(secret)])
			}
		}
	}
}

func TestACommandForSecretsThatFailsRefusesTheChange(t *testing.T) {
	t.Parallel()
	a := vaulted(t, "required = [\"SECRET_KEY\"]\ntimeout = \"1s\"\n")
	a.WriteFile("vault", "SECRET_KEY=one-secret\n")
	a.Releases("r1", "r2")
	a.Start("r1")
	for name, c := range map[string]struct{ adapter, says string }{
		"it fails":                   {"echo no session >&2; exit 6", "exit code 6: no session"},
		"it hangs":                   {"exec sleep 1000", "not finished within 1s"},
		"it prints too much":         {"exec yes SECRET_KEY=two-secret", "it printed more than 1048576 bytes"},
		"it prints nothing":          {"true", "it printed no variable"},
		"it prints something else":   {"echo two-secret", "its output:1:1: there is no = in the line"},
		"it prints binary data":      {"printf 'SECRET_KEY=two\\0secret'", "there is a NUL byte"},
		"a required name is missing": {"echo OTHER=two-secret", "process.web has no SECRET_KEY"},
		"a required value is empty":  {"echo SECRET_KEY=", "process.web has no SECRET_KEY"},
		"there is no such program":   {"exec /no/such/program", "/no/such/program"},
	} {
		a.WriteFile("adapter", c.adapter)
		for _, args := range [][]string{{"switch", "r2"}, {"switch", "r2", "--dry-run"}, {"reload"}, {"check"}, {"check", "r2"}} {
			got := a.Command(args...)
			if text := strings.Join(strings.Fields(got.Text()), " "); !strings.Contains(text, c.says) ||
				strings.Contains(text, "two-secret") {
				t.Errorf("%s: %v: exit code 1 and %q expected\n%s", name, args, c.says, got.Text())
			}
			got.Want(1)
		}
		if st := a.Status(); st.Release != "r1" || environ(t, a)["SECRET_KEY"] != "one-secret" {
			t.Fatalf("%s: %s is live", name, st.Release)
		}
	}
}

// crash kills the daemon and all workers.
func crash(t *testing.T, a *harness.App) {
	t.Helper()
	var pids []int
	for _, w := range a.Live(a.Status()).Workers {
		pids = append(pids, w.PID)
	}
	a.Daemon.Kill()
	for _, pid := range pids {
		children, err := proc.Children(pid)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, p := range append(children, pid) {
			if err := syscall.Kill(p, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
	}
}

func TestASiteStartsWithTheSecretsThatItHad(t *testing.T) {
	t.Parallel()
	a := vaulted(t, "")
	a.WriteFile("vault", "SECRET_KEY=one-secret\n")
	a.Releases("r1")
	a.Start("r1")
	a.WriteFile("adapter", "exit 1")
	crash(t, a)
	if err := a.Launch().Ready(); err != nil {
		t.Fatalf("%v\n%s", err, a.Daemon.Output())
	}
	harness.Eventually(t, "the site serves", func() bool { return a.Status().Health == "ok" })
	if env := environ(t, a); env["SECRET_KEY"] != "one-secret" {
		t.Errorf("a worker has %q", env["SECRET_KEY"])
	}
}

func TestAStartWaitsForTheCommandOrUsesTheConfig(t *testing.T) {
	t.Parallel()
	a := vaulted(t, "required = [\"SECRET_KEY\"]\n")
	a.WriteFile("vault", "SECRET_KEY=one-secret\n")
	a.Releases("r1")
	a.Start("r1")
	a.Daemon.Stop() // no value is left, as after a boot of the machine
	a.NothingLeft()
	a.WriteFile("adapter", "exit 7")
	a.Launch()
	harness.Eventually(t, "status says why the site is down", func() bool {
		return strings.Contains(a.Command("status").Text(), "exit code 7")
	})
	a.WriteFile("adapter", "cat "+a.Path("vault"))
	harness.Eventually(t, "the site serves once the command works", func() bool { return a.Status().Health == "ok" })
	if env := environ(t, a); env["SECRET_KEY"] != "one-secret" {
		t.Errorf("a worker has %q", env["SECRET_KEY"])
	}

	a.Daemon.Stop()
	a.WriteFile("adapter", "exit 7")
	a.WriteFile("env", "SECRET_KEY=in-file\n")
	a.Options.Top = fmt.Sprintf("env_file = %q\n", a.Path("env"))
	a.WriteConfig()
	if err := a.Launch().Ready(); err != nil {
		t.Fatalf("%v\n%s", err, a.Daemon.Output())
	}
	if env := environ(t, a); env["SECRET_KEY"] != "in-file" {
		t.Errorf("a worker has %q", env["SECRET_KEY"])
	}
	a.Command("status").Says("started with the variables of the config alone", "exit code 7", "superctl reload")
	a.WriteFile("adapter", "cat "+a.Path("vault"))
	a.Command("reload").Want(0).Says("variables: changed SECRET_KEY")
	if text := a.Command("status").Text(); strings.Contains(text, "variables of the config alone") {
		t.Errorf("status says after a reload:\n%s", text)
	}
}
