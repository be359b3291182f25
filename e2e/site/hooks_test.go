package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/proc"
)

// script returns [hooks] with one shell script for each hook.
func script(hooks map[string]string) string {
	var b strings.Builder
	b.WriteString("[hooks]\n")
	for name, text := range hooks {
		fmt.Fprintf(&b, "%s = [[\"sh\", \"-c\", %q]]\n", name, text)
	}
	return b.String()
}

// runs reports whether a process runs; a zombie, which init has yet to reap, does not.
func runs(pid int) bool {
	s, err := proc.ReadStat(pid)
	return err == nil && !s.Ended()
}

func TestTheHistoryHasTheOutputOfHooks(t *testing.T) {
	t.Parallel()
	say := `echo "$SUPERCTL_CHANGE $SUPERCTL_PREVIOUS-$SUPERCTL_RELEASE ${SUPERCTL_OUTCOME:-before} in $(basename $PWD) with $(basename $(dirname $(dirname $(dirname $(command -v python)))))"`
	a := harness.New(t, run, harness.Options{More: script(map[string]string{
		"before": say, "after": say + "; exit 4", "on_abort": say + `; echo "because $SUPERCTL_ERROR"`,
		"on_revert": say,
	})})
	a.Releases("r1", "r2")
	a.Release("bad", apps.Behaviour{Fault: apps.ExitsAtOnce})
	a.Start("r1")
	a.Command("switch", "r2").Want(0).Says(
		"switch r1-r2 before in r2 with r2", "switch r1-r2 done in r2 with r2", "warning: after: hook", "exit code 4",
	)
	a.Command("switch", "bad").Want(1).Says(
		"switch r2-bad aborted in bad with bad", "because prove: web.0", "the licence has run out",
	)
	rollback := a.Command("rollback").Want(0).Says("rollback r2-r1 done in r1")
	if strings.Contains(rollback.Text(), "r2-r1 before") {
		t.Errorf("before hooks ran for a rollback:\n%s", rollback.Text())
	}
	a.Command("history", "--output").Want(0).Says(
		"before | switch r1-r2 before in r2", "on_abort | because prove: web.0", "after | rollback r2-r1 done",
	)
}

func TestACancelledHookEndsWithItsChildren(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	a.Options.More = script(map[string]string{
		"before": `setsid sleep 1000 & echo $! >` + a.Path("child") + `; trap 'echo undone >` + a.Path("undone") +
			`; exit 1' TERM; echo begun; wait`,
		"on_abort": `echo $SUPERCTL_OUTCOME >` + a.Path("aborted"),
	})
	a.WriteConfig()
	for name, cancel := range map[string]func(*harness.Command){
		"Ctrl-C": (*harness.Command).Interrupt,
		"superctl cancel": func(*harness.Command) {
			a.Command("cancel").Want(0).Says("is canceled in step before", "r1 is still live")
		},
		"the daemon stops": func(*harness.Command) { a.Daemon.Stop() },
	} {
		if a.Daemon.Ended() {
			if err := a.Launch().Ready(); err != nil {
				t.Fatal(err)
			}
		}
		hung := a.Begin("switch", "r2")
		hung.Await("| begun")
		text, err := os.ReadFile(a.Path("child"))
		if err != nil {
			t.Fatal(err)
		}
		child, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		cancel(hung)
		hung.Wait()
		if !a.Daemon.Ended() {
			harness.Eventually(t, name+": the change is over", func() bool { return a.Status().Changing == nil })
			a.Command("history", "-n", "1").Want(0).Says("canceled by", "aborted")
		}
		if runs(child) {
			t.Errorf("%s: the hook's child %d still runs", name, child)
		}
		undone, err := os.ReadFile(a.Path("undone"))
		if err != nil || string(undone) != "undone\n" {
			t.Errorf("%s: it was not asked to end: %q, %v", name, undone, err)
		}
		aborted, err := os.ReadFile(a.Path("aborted"))
		if (err == nil) == a.Daemon.Ended() {
			t.Errorf("%s: on_abort: %q, %v", name, aborted, err)
		}
		for _, name := range []string{"undone", "aborted"} {
			if err := os.Remove(a.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
}

func TestAHookEndsWithAKilledDaemonAndIsNotRepeated(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())
	a.Options.More = script(map[string]string{"before": `echo $$ >>` + a.Path("ran") + `; setsid sleep 1000 & echo begun; wait`})
	a.WriteConfig()
	hung := a.Begin("switch", "r2")
	hung.Await("| begun")
	a.Daemon.Kill()
	hung.Wait().Want(3)
	if err := a.Launch().Ready(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.Path("ran"))
	if err != nil {
		t.Fatal(err)
	}
	hook, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("it ran twice: %q", text)
	}
	if runs(hook) {
		t.Errorf("the hook %d still runs", hook)
	}
	if st := a.Status(); st.Release != "r1" || st.Health != "ok" {
		t.Errorf("%+v", st)
	}
	a.Lossless(requests)
}

func TestAHookMayWriteAHundredMegabytes(t *testing.T) {
	t.Parallel()
	a := harness.New(
		t, run,
		harness.Options{More: script(map[string]string{"before": `yes "$(printf '%01000d' 0)" | head -c 100000000; echo finished`})},
	)
	a.Releases("r1", "r2")
	a.Start("r1")
	before := a.Daemon.PeakMemory()
	requests := a.Load(requestsOfAFewUsers())
	began := time.Now()
	c := a.Command("switch", "r2").Want(0).Says("lines are left out", "finished")
	// The client gets 1,000 lines at once and 100 a second, however long this machine takes to write them.
	most := 1100 + 100*int(time.Since(began).Seconds()+1)
	if n := strings.Count(c.Text(), "\n"); n > most {
		t.Errorf("the client was sent %d lines, not at most %d", n, most)
	}
	if after := a.Daemon.PeakMemory(); after > before+64<<20 {
		t.Errorf("the daemon has grown from %d to %d bytes", before, after)
	}
	a.Command("history", "--output", "-n", "1").Want(0).Says("lines before these are left out", "finished")
	a.Lossless(requests)
}
