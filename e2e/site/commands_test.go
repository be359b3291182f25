package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

func TestARollbackToAWarmReleaseStartsNothing(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Top: `standby = "5m"`})
	a.Releases("r1", "r2")
	a.Start("r1")
	first := a.Live(a.Status()).Workers[0].PID
	requests := a.Load(requestsOfAFewUsers())
	a.Command("switch", "r2").Want(0)
	second := a.Live(a.Status()).Workers[0].PID
	for _, want := range []int{first, second, first} {
		a.Command("rollback").Want(0)
		if pid := a.Live(a.Status()).Workers[0].PID; pid != want {
			t.Errorf("worker %d is live, want %d", pid, want)
		}
	}
	a.Lossless(requests)
}

func TestAReloadAppliesTheConfigButARestartDoesNot(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1")
	a.Start("r1")
	before := a.Live(a.Status())
	requests := a.Load(requestsOfAFewUsers())
	a.Options.Web = "instances = 2"
	a.WriteConfig()
	a.Command("restart", "web").Want(0)
	restarted := a.Live(a.Status())
	if len(restarted.Workers) != 1 || restarted.Workers[0].PID == before.Workers[0].PID {
		t.Errorf("after the restart: %+v", restarted)
	}
	a.Command("restart", "celery").Want(2).Says(`there is no process "celery"`, "web")
	a.Command("reload").Want(0)
	if reloaded := a.Live(a.Status()); len(reloaded.Workers) != 2 {
		t.Errorf("after the reload: %+v", reloaded)
	}
	a.Lossless(requests)
}

func TestARestartAfterTheReleaseWasRemovedSaysSo(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())
	remove(t, a.Path("releases", "r1"))
	for _, command := range [][]string{{"restart", "web"}, {"scale", "web=2"}} {
		a.Command(command...).Want(1).Says("release r1 no longer exists: "+a.Path("releases", "r1")+" was removed", "switch to another one")
	}
	a.Lossless(requests)
	a.Command("switch", "r2").Want(0)
}

func TestACheckOfAReleaseTriesItAndTouchesNothing(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "good")
	a.Release("bad", apps.Behaviour{Fault: apps.ImportError})
	a.Start("r1")
	before := a.Status()
	a.Command("check").Want(0)
	a.Command("check", "good").Want(0).Says("good")
	a.Command("check", "bad").Want(1).Says("shop_payments")
	after := a.Status()
	if len(after.Generations) != 1 || a.Live(after).Workers[0].PID != a.Live(before).Workers[0].PID {
		t.Errorf("%+v", after)
	}
}

func TestLogsHistoryAndReleasesShowThePast(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Release("bad", apps.Behaviour{Fault: apps.ImportError})
	a.Start("r1")
	a.Command("switch", "r2").Want(0)
	a.Command("switch", "bad").Want(1)
	a.Command("releases").Want(0).Says("r1", "r2", "bad", "live")
	history := a.Command("history").Want(0).Text()
	for _, words := range []string{"r1", "r2", "bad", "aborted", "exit code", "root"} {
		if !strings.Contains(history, words) {
			t.Errorf("the history has no %q:\n%s", words, history)
		}
	}
	a.Command("logs", "--release", "r2", "--process", "web").Want(0).Says("Listening at")
	if logs := a.Command("logs", "--release", "r2").Want(0).Text(); strings.Contains(logs, "shop_payments") {
		t.Errorf("another release's lines are there:\n%s", logs)
	}
	a.Command("logs", "--release", "bad").Want(0).Says("shop_payments")
	a.Command("logs", "--process", "webb").Want(2).Says(`there is no process "webb": `, " has web")
	a.Command("logs", "--process", "webb", "--follow").Want(2)
	follow := a.Begin("logs", "--follow")
	a.Command("restart", "web").Want(0)
	follow.Await("Booting worker")
	follow.Interrupt()
	follow.Wait().Want(0)
}

func TestAWarmGenerationOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Top: `standby = "10m"`})
	a.Releases("r1", "r2")
	d := a.Start("r1")
	first := a.Live(a.Status()).Workers[0].PID
	a.Command("switch", "r2").Want(0)
	d.Kill()
	if err := a.Launch().Ready(); err != nil {
		t.Fatal(err)
	}
	requests := a.Load(requestsOfAFewUsers())
	a.Command("rollback").Want(0).Says("still warm")
	if now := a.Live(a.Status()).Workers[0].PID; now != first {
		t.Errorf("worker %d became %d", first, now)
	}
	a.Lossless(requests)
}

func TestDaemonsWithOtherStateFormatsTakeOver(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Top: `standby = "10m"`})
	older, newer := run.Binary, a.Path("newer")
	if err := run.Build(newer, "nextformat"); err != nil {
		t.Fatal(err)
	}
	a.Binary = a.Path("superctl")
	install := func(binary string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(a.Binary), os.Link(binary, a.Binary)); err != nil {
			t.Fatal(err)
		}
	}
	version := func() (head struct{ Version, Needs int }) {
		t.Helper()
		data, err := os.ReadFile(a.Path("state", "state.json"))
		if err == nil {
			err = json.Unmarshal(data, &head)
		}
		if err != nil {
			t.Fatal(err)
		}
		return head
	}
	install(older)
	a.Releases("r1", "r2")
	a.Start("r1")
	a.Command("switch", "r2").Want(0)
	requests := a.Load(requestsOfAFewUsers())
	wrote := version().Version
	for _, binary := range []string{newer, older, newer, older} {
		before := a.Status() // by the program on the other side
		install(binary)
		a.Command("upgrade").Want(0)
		after := a.Status()
		if after.PID == before.PID || a.Live(after).Workers[0].PID != a.Live(before).Workers[0].PID {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		a.Command("rollback").Want(0).Says("still warm")
		if now := version(); now.Version == wrote || now.Needs != 2 {
			t.Errorf("it writes format %+v", now)
		} else {
			wrote = now.Version
		}
	}
	a.Lossless(requests)
	// The harness did not start the running daemon.
	kill(t, a.Status().PID)
	harness.Eventually(t, "the workers are ended", func() bool { return a.Command("end").Code == 0 })
}

// Without systemd there is no descriptor store: the next daemon takes the listeners from the
// workers, and finds the workers by their pid and start time.
func TestADaemonWithoutSystemdAdoptsWhatAKilledOneHasLeft(t *testing.T) {
	t.Parallel()
	for _, front := range []harness.Front{harness.TCP, harness.NginxUnix} {
		t.Run(front.String(), func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Front: front})
			a.Releases("r1", "r2")
			a.Start("r1")
			before := a.Live(a.Status()).Workers[0].PID
			requests := a.Load(requestsOfAFewUsers())
			for range 5 {
				a.Daemon.Kill()
				a.More(requests, 5)
				if err := a.Launch().Ready(); err != nil {
					t.Fatal(err)
				}
				if now := a.Live(a.Status()).Workers[0].PID; now != before {
					t.Fatalf("worker %d became %d", before, now)
				}
			}
			a.Command("switch", "r2").Want(0)
			a.Command("rollback").Want(0)
			a.Lossless(requests)
		})
	}
}

func TestAStrangerWithAWorkersPidIsNeverSignalled(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1")
	a.Start("r1")
	worker := a.Live(a.Status()).Workers[0].PID
	a.Daemon.Kill()
	kill(t, worker)
	stranger := exec.Command("sleep", "600")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = stranger.Wait() // it is killed at the end of the test
		close(ended)
	}()
	t.Cleanup(func() {
		_ = stranger.Process.Kill()
		<-ended
	})
	path := a.Path("state", "state.json")
	state, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, to := fmt.Sprintf(`"pid":%d,`, worker), fmt.Sprintf(`"pid":%d,`, stranger.Process.Pid)
	if !bytes.Contains(state, []byte(from)) {
		t.Fatalf("no %s in\n%s", from, state)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(state, []byte(from), []byte(to)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Launch().Ready(); err != nil {
		t.Fatal(err)
	}
	a.Lossless(a.Load(requestsOfAFewUsers()))
	if now := a.Live(a.Status()).Workers[0].PID; now == worker || now == stranger.Process.Pid {
		t.Errorf("the worker is %d", now)
	}
	a.Daemon.Stop()
	select {
	case <-ended:
		t.Error("the stranger has ended")
	default:
	}
}

func TestAnUpgradeWithoutSystemdKeepsTheWorkers(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	d := a.Start("r1")
	before := a.Status()
	requests := a.Load(requestsOfAFewUsers())
	a.Command("upgrade").Want(0).Says("upgraded to superctl")
	after := a.Status()
	if after.PID == before.PID || a.Live(after).Workers[0].PID != a.Live(before).Workers[0].PID {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if code := d.Wait(); code != 0 {
		t.Errorf("the old daemon ended with %d", code)
	}
	a.Command("switch", "r2").Want(0)
	a.Command("upgrade").Want(0)
	a.Command("rollback").Want(0)
	a.Lossless(requests)
	kill(t, a.Status().PID)
	// An operator stops the workers orphaned by the killed daemon.
	harness.Eventually(t, "the workers are ended", func() bool { return a.Command("end").Code == 0 })
}

func TestScalingUpAndDownLosesNoRequest(t *testing.T) {
	t.Parallel()
	for _, server := range []harness.Server{harness.GunicornThreads(), harness.Uvicorn()} {
		t.Run(server.Name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{
				Server: server,
				More:   "[process.clock]\ncommand = \"python -m http.server --bind 127.0.0.1 0\"\nready_after = \"50ms\"\n",
			})
			a.Releases("r1", "r2")
			d := a.Start("r1")
			requests := a.Load(requestsOfAFewUsers())
			a.Command("scale", "web=3", "clock=2").Want(0).Says("web 1 to 3", "clock 1 to 2")
			a.Command("status").Want(0).Says("web: scaled to 3 (config: 1)")
			a.Command("switch", "r2").Want(0)
			d.Kill()
			if err := a.Launch().Ready(); err != nil {
				t.Fatal(err)
			}
			if n := len(a.Live(a.Status()).Workers); n != 5 {
				t.Errorf("%d workers", n)
			}
			a.Command("pause", "clock").Want(0)
			a.Command("status").Want(0).Says("clock: paused (superctl resume clock starts it)")
			a.Command("scale", "--config").Want(0).Says("scaled")
			a.Command("resume", "clock").Want(0)
			a.Command("scale", "web=0").Want(2).Says("no worker would answer")
			a.Command("scale", "web=0x4").Want(2).Says("use PROCESS=NUMBER")
			if n := len(a.Live(a.Status()).Workers); n != 2 {
				t.Errorf("%d workers", n)
			}
			a.Lossless(requests)
		})
	}
}

func TestACommandRunsInTheLiveReleaseWithItsExitCode(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Env: "GREETING = \"hello\""})
	a.Releases("r1", "r2")
	a.Command("exec", "pwd").Want(3).Says("the daemon cannot be reached", "choose one with --release")
	d := a.Start("")
	a.Command("exec", "pwd").Want(1).Says("no release is live")
	a.Command("switch", "r1").Want(0)
	a.Command("exec", "python", "manage.py", "check", "--fail-level", "WARNING").Want(0).Says("no issues")
	a.Command(
		"exec", "--", "sh", "-c", "echo $GREETING from $SUPERCTL_RELEASE in $PWD; exit 7",
	).Want(7).Says("hello from r1 in " + a.Path("releases", "r1"))
	a.Command("exec", "--release", "r2", "sh", "-c", "echo $SUPERCTL_RELEASE").Want(0).Says("r2")
	a.Command("exec", "frobnicate").Want(1).Says("exec in r1: ", "frobnicate")
	d.Stop()
	a.Command("exec", "printenv", "VIRTUAL_ENV").Want(0).Says(a.Path("releases", "r1", "venv"))
	if err := os.Remove(a.Path("current")); err != nil { // the state knows what was live
		t.Fatal(err)
	}
	a.Command("exec", "printenv", "SUPERCTL_RELEASE").Want(0).Says("r1")
	if os.Geteuid() == 0 {
		// Like User= in the unit: the config names no user, and the daemon does not run as root.
		if err := os.Chown(a.Path("state"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		a.Command("exec", "sh", "-c", `echo $(id -un), $USER`).Want(0).Says("nobody, nobody")
		a.Options.Top = "user = \"nobody\""
		a.WriteConfig()
		a.Command("exec", "id", "-un").Want(0).Says("nobody")
		// The owner of the directory can replace the files in it.
		for _, err := range []error{
			os.Remove(a.Path("state", "state.json")), os.Symlink("/etc/passwd", a.Path("state", "state.json")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		a.Options.Top = ""
		a.WriteConfig()
		a.Command("exec", "--release", "r1", "id", "-un").Want(0).Says("nobody")
	}
}
