package site

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
	"superctl/proc"
)

func TestADaemonThatDiesInAChangeKeepsTheSecretsOfTheLiveRelease(t *testing.T) {
	t.Parallel()
	for _, death := range []struct {
		point  string // "" = while secrets.command runs
		secret string // of the release that is live afterwards
	}{
		{"", "first-secret"},
		{"switch: after resolve", "first-secret"},
		{"switch: before cutover", "first-secret"},
		{"switch: after cutover", "second-secret"},
	} {
		for _, all := range []bool{false, true} { // all processes die, or the daemon alone
			t.Run(fmt.Sprintf("%s, all processes: %t", cmp.Or(death.point, "during resolve"), all), func(t *testing.T) {
				t.Parallel()
				w := vaultedWalk(t)
				var requests *load.Run
				if !all {
					requests = w.Load(requestsOfAFewUsers())
				}
				before := familyOf(t, w.Live(w.Status()).Workers)
				command := w.dieInSwitch(death.point)
				if all {
					for _, pid := range before {
						if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
							t.Fatal(err)
						}
					}
				}
				w.WriteFile("adapter", "exit 1") // nothing below runs the command
				w.launch()
				if command != 0 && runs(command) {
					t.Errorf("secrets.command of the daemon that has died still runs, as process %d", command)
				}
				harness.Eventually(t, "the site serves", func() bool { return w.Status().Health == "ok" && w.Status().Changing == nil })
				if !all {
					w.Lossless(requests)
				}
				if env := respawned(t, w.App); env["SECRET_KEY"] != death.secret {
					t.Errorf("a worker of %s has %q", w.Status().Release, env["SECRET_KEY"])
				}
				if text := w.Command("exec", "sh", "-c", "echo $SECRET_KEY").Want(0).Stdout(); text != death.secret+"\n" {
					t.Errorf("exec has %q", text)
				}
			})
		}
	}
}

func TestExecHasTheSecretsOfTheLiveReleaseDuringAChange(t *testing.T) {
	t.Parallel()
	w := vaultedWalk(t)
	secret := func() string { return w.Command("exec", "sh", "-c", "echo $SECRET_KEY").Want(0).Stdout() }
	w.WriteFile("vault", "SECRET_KEY=second-secret\n")
	change := w.Converse("switch", "r2", "--prepare")
	change.Await("ready")
	if text := secret(); text != "first-secret\n" {
		t.Errorf("before the cutover exec has %q", text)
	}
	change.Type("go")
	change.Wait().Want(0)
	if text := secret(); text != "second-secret\n" {
		t.Errorf("after the cutover exec has %q", text)
	}
}

// vaultedWalk is a site with r1 live, whose secrets.command has printed first-secret.
func vaultedWalk(t *testing.T) *walk {
	t.Helper()
	a := vaulted(t, "")
	a.WriteFile("vault", "SECRET_KEY=first-secret\n")
	a.Releases("r1", "r2")
	w := &walk{App: a, t: t, faults: t.TempDir()}
	w.launch()
	a.Command("switch", "r1").Want(0)
	return w
}

// dieInSwitch has the daemon die at a point of a switch to r2, for which secrets.command prints second-secret.
// It returns the process of the command if that runs on.
func (w *walk) dieInSwitch(point string) (command int) {
	w.T.Helper()
	w.WriteFile("vault", "SECRET_KEY=second-secret\n")
	var change *harness.Command
	if point == "" {
		file := w.Path("command")
		w.WriteFile("adapter", fmt.Sprintf("echo $$ > %s.new; mv %[1]s.new %[1]s; exec sleep 1000", file))
		change = w.Begin("switch", "r2")
		harness.Eventually(w.t, "the command runs", func() bool {
			text, err := os.ReadFile(file)
			command, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			return err == nil
		})
		w.Daemon.Kill()
	} else {
		w.arm(point)
		change = w.Begin("switch", "r2")
		w.gone()
	}
	change.Wait().Want(3)
	return command
}

// familyOf returns the processes of workers.
func familyOf(t *testing.T, workers []harness.Worker) (pids []int) {
	t.Helper()
	for _, w := range workers {
		children, err := proc.Children(w.PID)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		pids = append(append(pids, children...), w.PID)
	}
	return pids
}
