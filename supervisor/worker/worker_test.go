package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"superctl/proc"
)

// TestMain makes this binary the keeper too: StartKeeper re-executes /proc/self/exe.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == KeeperArg {
		os.Exit(Keep(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// run starts a shell script as a worker and returns what it wrote until its end.
func runScript(t *testing.T, spec Spec, script string) (*Worker, []string) {
	t.Helper()
	spec.Command = []string{"/bin/sh", "-c", script}
	if spec.Dir == "" {
		spec.Dir = t.TempDir()
	}
	spec.Output = filepath.Join(t.TempDir(), "out")
	out, err := OpenOutput(spec.Output, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	if err := w.KillAll(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out.OnLine(func(l Line) { lines = append(lines, string(l.Text)) })
	if err := out.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return w, lines
}

func TestAWorkerGetsTheEnvironmentThatWasBuiltAndNothingElse(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/of/the/daemon")
	t.Setenv("WATCHDOG_PID", "1")
	r, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, lines := runScript(t, Spec{
		App: "shop", Release: "r1", Process: "web", Generation: 7, Instance: 2, Notify: "/run/notify",
		Env:   []string{"PATH=/usr/bin:/bin", "A=b", "LISTEN_FDS=9"},
		Files: []File{{Name: "web", FD: int(r.Fd())}},
	}, "echo pid=$$; env | sort; ls /proc/self/fd | tr '\\n' ' '")
	env := strings.Join(lines, "\n") + "\n"
	for _, want := range []string{
		"A=b\n", "LISTEN_FDS=1\n", "LISTEN_FDNAMES=web\n", fmt.Sprintf(
			"LISTEN_PID=%d\n", w.PID(),
		), "NOTIFY_SOCKET=/run/notify\n",
		"SUPERCTL_APP=shop\n", "SUPERCTL_GENERATION=7\n", "SUPERCTL_INSTANCE=2\n", "SUPERCTL_PROCESS=web\n",
		"SUPERCTL_RELEASE=r1\n",
		fmt.Sprintf("pid=%d\n", w.PID()),
	} {
		if !strings.Contains(env, want) {
			t.Errorf("no %q in\n%s", want, env)
		}
	}
	for _, not := range []string{"WATCHDOG", "/of/the/daemon", "LISTEN_FDS=9"} {
		if strings.Contains(env, not) {
			t.Errorf("%q in\n%s", not, env)
		}
	}
	if fds := strings.Fields(lines[len(lines)-1]); len(fds) != 5 { // 0 1 2 3 and the directory that ls reads
		t.Errorf("descriptors %v", fds)
	}
}

func TestTheEndOfAWorkerIsKnown(t *testing.T) {
	for script, want := range map[string]string{
		"exit 3": "exit code 3", "exit 0": "exit code 0", "kill -9 $$": "killed by SIGKILL",
	} {
		if w, _ := runScript(t, Spec{Env: []string{"PATH=/bin"}}, script); w.Exit().String() != want ||
			!w.Exit().Known {
			t.Errorf("%s: %s", script, w.Exit())
		}
	}
}

func TestAnIgnoredSignalOfTheDaemonIsDefaultInAWorker(t *testing.T) {
	_, lines := runScript(t, Spec{Env: []string{"PATH=/bin:/usr/bin"}}, "grep -E 'SigIgn|SigBlk' /proc/self/status")
	for _, l := range lines {
		if !strings.HasSuffix(l, "\t0000000000000000") {
			t.Errorf("%s", l)
		}
	}
	if len(lines) != 2 {
		t.Errorf("lines %v", lines)
	}
}

func TestAStartThatCannotBeSaysExactlyWhy(t *testing.T) {
	dir := t.TempDir()
	orphan := filepath.Join(dir, "gunicorn")
	if err := os.WriteFile(orphan, []byte("#!/srv/removed/bin/python\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for want, spec := range map[string]Spec{
		`command "nope" is not in PATH (/bin)`: {Command: []string{"nope"}, Dir: dir},
		"exec /no/such: no such file or directory": {
			Command: []string{"/no/such"}, Dir: dir,
		},
		"interpreter /srv/removed/bin/python is missing": {Command: []string{orphan}, Dir: dir},
		"exec " + plain + ": permission denied":          {Command: []string{plain}, Dir: dir},
		"chdir /no/dir: no such file or directory": {
			Command: []string{"/bin/true"}, Dir: "/no/dir",
		},
		`the command: {fd.api} names no listener of this process (it has web)`: {
			Command: []string{"x", "{fd.api}"}, Files: []File{{Name: "web"}},
		},
		"the command is empty": {},
	} {
		spec.Env = []string{"PATH=/bin"}
		if _, err := Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestNothingSurvivesKillAll(t *testing.T) {
	for name, script := range map[string]string{
		"children that ignore SIGTERM":     `trap "" TERM; (trap "" TERM; sleep 1000) & sleep 1000 & echo up; wait`,
		"a double fork with a new session": `(setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo up; sleep 1000`,
		"a fork bomb of limited size":      `b() { if [ $1 -gt 0 ]; then b $(($1-1)) & b $(($1-1)) & fi; sleep 1000; }; b 5 & echo up; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			out, err := OpenOutput(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			w, err := Start(t.Context(), Spec{
				Command: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/", Output: path,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			out.OnLine(func(Line) { cancel() })
			if err := out.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if err := w.KillAll(); err != nil {
				t.Fatal(err)
			}
			<-w.Done()
			if left, err := family(w.root()); err != nil || len(left) > 0 {
				t.Errorf("left: %v %v", left, err)
			}
			if err := out.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPidThatIsSomebodyElsesIsNotAdopted(t *testing.T) {
	if _, err := Adopt(os.Getpid(), 1, "x", -1, nil); err == nil {
		t.Error("a process with another start time was adopted")
	}
	start, err := startTime(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	w, err := Adopt(os.Getppid(), start, "x", -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w.PID() != os.Getppid() {
		t.Error(w.PID())
	}
}

func TestANotificationIsKnownByItsSendersPid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	n, err := ListenNotify(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	script := `import os,socket
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)
for m in (b"\xff\x00garbage",b"READY=1\nSTATUS=hello\n"): s.sendto(m,os.environ["NOTIFY_SOCKET"])`
	w, err := Start(t.Context(), Spec{
		Command: []string{"python3", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, Dir: "/", Notify: path,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := n.Run(ctx, func(m Message) {
		if m.Fields["READY"] == "" {
			return
		}
		if m.PID != w.PID() || m.Fields["STATUS"] != "hello" {
			t.Errorf("%+v, the worker is %d", m, w.PID())
		}
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left over")
	}
}

func TestTheStdoutOfACommandMayBeAFile(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var lines []string
	err = Run(context.Background(), Command{
		Args: []string{"sh", "-c", `printf 'a\0b'; echo a warning >&2`}, Env: []string{"PATH=/bin"}, Dir: "/",
		Stdout: out,
	}, func(l string) {
		lines = append(lines, l)
	})
	data, readErr := os.ReadFile(out.Name())
	if err != nil || readErr != nil || string(data) != "a\x00b" || !slices.Equal(lines, []string{"a warning"}) {
		t.Errorf("the file has %q, and the lines are %q (%v, %v)", data, lines, err, readErr)
	}
}

func TestAHookThatHangsIsKilledWithAllThatItStarted(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	var pid int
	err := Run(ctx, Command{
		Args: []string{"sh", "-c", "sleep 1000 & echo $!; wait"}, Env: []string{"PATH=/bin"}, Dir: "/",
	}, func(l string) {
		_, _ = fmt.Sscan(l, &pid)
		cancel()
	})
	if err == nil {
		t.Error("no error")
	}
	if s, err := proc.ReadStat(pid); err == nil && s.State != 'Z' {
		t.Errorf("process %d is left over", pid)
	}
	if err := Run(context.Background(), Command{Args: []string{"sh", "-c", "exit 4"}, Env: []string{"PATH=/bin"}, Dir: "/"}, func(string) {}); err == nil ||

		err.Error() != "exit code 4" {
		t.Error(err)
	}
}

// hook runs a command as a hook would, with a shell, and returns what it wrote.
func hook(ctx context.Context, t *testing.T, script string) (lines []string, err error) {
	t.Helper()
	err = Run(ctx, Command{
		Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}, Dir: t.TempDir(),
	}, func(l string) {
		lines = append(lines, l)
	})
	return lines, err
}

func gone(pid int) bool {
	s, err := proc.ReadStat(pid)
	return err != nil || s.State == 'Z'
}

func TestAHookIsAskedToEndBeforeItIsKilled(t *testing.T) {
	const program = `trap 'echo undone; exit 3' TERM; sleep 1000 & echo begun; wait`
	for name, script := range map[string]string{
		"itself":                            program,
		"a child that takes longer than it": `sh -c "trap '/bin/sleep 0.3; echo undone; exit' TERM; sleep 1000 & echo begun; wait" & wait`,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var lines []string
			err := Run(ctx, Command{
				Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/",
			}, func(l string) {
				lines = append(lines, l)
				cancel(errors.New("no more"))
			})
			if err == nil || err.Error() != "no more" || !slices.Equal(lines, []string{"begun", "undone"}) {
				t.Errorf("%v, %q", err, lines)
			}
		})
	}
}

func TestAHookThatForksAwayIsWaitedForNoLongerThanItself(t *testing.T) {
	for name, script := range map[string]string{
		"in the background, with the pipe": `sleep 1000 & echo $!`,
		"a session of its own":             `setsid sh -c 'sleep 1000 & echo $!' & wait`,
		"a double fork":                    `(setsid sh -c 'sleep 1000 & echo $! >pid' &); until [ -s pid ]; do sleep 0.01; done; cat pid`,
	} {
		t.Run(name, func(t *testing.T) {
			lines, err := hook(t.Context(), t, script)
			var pid int
			if _, scanned := fmt.Sscan(strings.Join(lines, " "), &pid); err != nil || scanned != nil {
				t.Fatalf("%v, %q", err, lines)
			}
			if !gone(pid) {
				t.Errorf("process %d is left over", pid)
			}
		})
	}
}

// Without a control group nothing is known of a process that has left its session, its parent and
// its environment behind.
func TestAHookWhoseChildCannotBeFoundStillEnds(t *testing.T) {
	lines, err := hook(
		t.Context(), t,
		`(env -i setsid sh -c '/bin/sleep 1000 & echo $! >pid' &); until [ -s pid ]; do sleep 0.01; done; cat pid`,
	)
	var pid int
	if _, scanned := fmt.Sscan(strings.Join(lines, " "), &pid); err != nil || scanned != nil {
		t.Fatalf("%v, %q", err, lines)
	}
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

func TestTheEndOfAHookSaysHow(t *testing.T) {
	for script, says := range map[string]string{
		"exit 7":        "exit code 7",
		"kill -SEGV $$": "killed by SIGSEGV",
		"kill -KILL $$": "killed by SIGKILL",
		"exec python3 -c 'import os; os.abort()'": "killed by SIGABRT",
	} {
		if _, err := hook(t.Context(), t, script); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestAHookMayWriteAHundredMegabytes(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := 0
	err := Run(t.Context(), Command{
		Args: []string{
			"sh", "-c",
			"yes 'a line of the ordinary length that a migration or a build writes, and some more of it' | head -c 50000000; head -c 50000000 /dev/zero",
		},
		Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/",
	}, func(l string) {
		n += len(l)
	})
	runtime.ReadMemStats(&after)
	if err != nil || n < 99_000_000 {
		t.Errorf("%v, %d bytes", err, n)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 32<<20 {
		t.Errorf("memory has grown by %d MB", grown>>20)
	}
}

func TestAfterExitRunsOnceTheWorkerHasExited(t *testing.T) {
	w, err := Start(t.Context(), Spec{Command: []string{"/bin/sleep", "infinity"}, Dir: t.TempDir(), Output: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan Exit)
	tell := func() {
		select {
		case <-w.Done():
			ran <- w.Exit()
		default:
			ran <- Exit{}
		}
	}
	w.AfterExit(tell)
	w.AfterExit(tell)
	if err := w.KillAll(); err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	w.AfterExit(tell) // it has exited already
	for range 3 {
		if exit := <-ran; exit != (Exit{Known: true, Signal: syscall.SIGKILL}) {
			t.Errorf("exit %+v", exit)
		}
	}
}
