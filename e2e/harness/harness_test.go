package harness

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"superctl/e2e/apps"
	"superctl/load"
)

func TestMain(m *testing.M) {
	Guardian()
	os.Exit(m.Run())
}

// fakeT collects errors instead of failing the test.
type fakeT struct {
	*testing.T
	errors []string
}

func (f *fakeT) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}
func (f *fakeT) Failed() bool { return len(f.errors) > 0 }

// bareRun returns a run without superctl and servers.
func bareRun(t *testing.T) *Run {
	t.Helper()
	dir, err := os.MkdirTemp("", "sctl-")
	if err != nil {
		t.Fatal(err)
	}
	r := &Run{Dir: dir}
	if err := r.startGuardian(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestALeftoverProcessFailsTheTest(t *testing.T) {
	run := bareRun(t)
	f := &fakeT{T: t}
	a := &App{T: f, Run: run, Name: "shop", Dir: run.Dir}
	cmd := exec.Command("sleep", "1000")
	cmd.Env = a.env()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // killed by the harness
	if left := processes(run.Dir, os.Getpid()); len(left) != 1 || left[0].PID != cmd.Process.Pid ||
		left[0].Command != "sleep 1000" {
		t.Fatalf("found %v", left)
	}
	a.NothingLeft()
	if len(f.errors) != 1 || !strings.Contains(f.errors[0], "sleep 1000") {
		t.Errorf("said %q", f.errors)
	}
	if !awaitExit(cmd.Process.Pid, Patience) {
		t.Error("it is still there")
	}
	if err := run.Close(); err != nil {
		t.Error(err)
	}
}

func TestLeftoverFilesFailTheTest(t *testing.T) {
	run := bareRun(t)
	f := &fakeT{T: t}
	a := &App{T: f, Run: run, Name: "shop", Dir: run.Dir}
	for _, dir := range []string{"run", "tmp", "state", "releases"} {
		a.must(os.Mkdir(a.Path(dir), 0o755))
	}
	a.must(syscall.Mkfifo(a.Path("state", "out"), 0o600))
	a.must(syscall.Mkfifo(a.Path("releases", "not-ours"), 0o600))
	a.WriteFile("tmp/x", "")
	a.WriteFile("state/.state.json123", "")
	a.WriteFile("state/state.json", "")
	sum := sha256.Sum256([]byte(a.Path("state")))
	values := fmt.Sprintf("/dev/shm/superctl-0-shop-%x", sum[:4])
	a.must(os.Mkdir(values, 0o700))
	a.NothingLeft()
	if len(f.errors) != 4 || !strings.Contains(strings.Join(f.errors, "\n"), values) {
		t.Errorf("said %q", f.errors)
	}
	if _, err := os.Stat(values); err == nil {
		t.Errorf("%s is still there", values)
	}
	if err := run.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheGuardianCleansUpAfterADeadRun(t *testing.T) {
	run := bareRun(t)
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = run.Dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = run.leash.Close() // as the kernel does when the test binary dies
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", err)
	}
	if err := run.guardian.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(run.Dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestOwnSettingsReplaceDefaults(t *testing.T) {
	got := merged("a = 1\nb = 2", "b = 3\nc = 4")
	if want := "a = 1\nb = 3\nc = 4\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// inherit starts the command after it with descriptor 3, as superctl does.
const inherit = `import os, sys
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execvp(sys.argv[1], sys.argv[1:])`

// TestEachServerServesTheProject proves what all other tests rely on. Without superctl, each server
// serves a release from an inherited listener, directly or behind nginx, and every view answers as
// the load client expects.
func TestEachServerServesTheProject(t *testing.T) {
	for _, test := range []struct {
		server Server
		front  Front
	}{
		{GunicornSync(), TCP},
		{GunicornThreads(), Unix},
		{GunicornThreads(), NginxUnix},
		{UWSGIHTTP(), NginxTCP},
		{UWSGISocket(), NginxUnix},
		{UWSGISocket(), NginxTCP},
		{Uvicorn(), TCP},
		{UvicornWorkers(), Unix},
	} {
		t.Run(test.server.Name+"/"+test.front.String(), func(t *testing.T) {
			t.Parallel()
			a := New(t, sharedRun(t), Options{Server: test.server, Front: test.front})
			a.Releases("r1")
			ln := listenAs(t, a)
			venv := a.Path("releases", "r1", "venv")
			argv := strings.Fields(strings.ReplaceAll(test.server.Command, "{fd.web}", "3"))
			if argv[0] == "gunicorn" {
				argv = append(argv, "--no-control-socket") // it could not remove its control socket when it is killed
			}
			cmd := exec.Command(filepath.Join(venv, "bin", "python"), append([]string{"-c", inherit}, argv...)...)
			cmd.Dir, cmd.ExtraFiles = a.Path("releases", "r1"), []*os.File{ln}
			cmd.Env = append(a.env(), "PATH="+filepath.Join(venv, "bin")+":"+os.Getenv("PATH"), "SUPERCTL_GENERATION=1")
			var out syncBuffer
			cmd.Stdout, cmd.Stderr = &out, &out
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Wait()
			}()
			network, address := a.Target()
			r, err := load.Start(load.Config{
				Network: network, Address: address, MaxRequests: 24, Clients: 2,
				Timeout: Patience, Shapes: []load.Shape{
					load.Get("/"), load.Get("/healthz/"), load.Post("/echo", 100_000), load.Stream("/stream", 2<<20),
					load.Get("/slow?s=0.1"),
					{
						Name: "missing", Method: "GET", Path: "/nothing-here",
						Check: func(status int, _ http.Header, _ []byte) error {
							if status != http.StatusNotFound {
								return fmt.Errorf("status %d", status)
							}
							return nil
						},
					},
				},
			})
			a.must(err)
			ctx, cancel := Limited(t.Context())
			defer cancel()
			if err := r.Wait(ctx, func(records []load.Record) bool { return len(records) == 24 }); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			res := r.Stop()
			if len(res.Failed()) > 0 {
				t.Errorf("%s\n%s", res, out.String())
			}
			for _, rec := range res.Records {
				if rec.Release != "r1" || rec.Generation != 1 || rec.PID == 0 {
					t.Errorf("answered by %q g%d pid %d", rec.Release, rec.Generation, rec.PID)
				}
			}
		})
	}
}

// TestEachFaultMisbehaves proves that the faulty releases of other tests are faulty.
func TestEachFaultMisbehaves(t *testing.T) {
	for fault, want := range map[apps.Fault]string{
		apps.ImportError: "No module named 'shop_payments'",
		apps.ExitsAtOnce: "fatal: the licence has run out",
		apps.ExitsLater:  "fatal: no database",
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			a := New(t, sharedRun(t), Options{})
			a.Release("r1", apps.Behaviour{Fault: fault, Seconds: 0.01})
			cmd := exec.Command(a.Path("releases", "r1", "venv", "bin", "gunicorn"), "--bind",
				"unix:"+a.Path("tmp", "s"), "shop.wsgi")
			cmd.Dir, cmd.Env = a.Path("releases", "r1"), a.env()
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("%v\n%s", err, out)
			}
			_ = os.Remove(a.Path("tmp", "s"))
		})
	}
}
