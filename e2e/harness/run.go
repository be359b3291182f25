// Package harness runs the real superctl, real servers and a real nginx for the end-to-end tests.
//
// It owns everything that such a test leaves on the machine. One directory and one environment
// variable mark all processes of a run. Each test proves at its end that nothing of its app is
// left, and a guardian process cleans up after a test binary that died.
//
// It waits for events (READY=1, exits, answers), never for time to pass. It uses free ports on its
// own loopback addresses, so that tests may run in parallel.
//
// It asserts nothing about superctl except that it starts, stops and leaves nothing behind.
package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"superctl/e2e/apps"
)

// T is the part of testing.TB that the harness needs. The demo and the benchmarks implement it too.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	Failed() bool
}

// mark is the environment variable of every process of a run.
const mark = "SHOP_E2E_RUN"

// guardianOf is the environment variable that makes this program the guardian of a run's directory.
const guardianOf = "SHOP_E2E_GUARDIAN_OF"

// Run is one run of the tests: a directory, the binary under test, and a builder of releases.
type Run struct {
	Dir    string // holds everything; short, because paths of unix sockets are limited
	Binary string // superctl, built from this tree
	Apps   apps.Builder

	repo     string
	goshop   func() (string, error) // builds the Go site once and returns its path
	apps     atomic.Int32
	guardian *exec.Cmd
	leash    io.Closer // closing it makes the guardian act
}

// Guardian must be the first call of main or TestMain. In the guardian process it does the
// guardian's work and exits.
func Guardian() {
	dir := os.Getenv(guardianOf)
	if dir == "" {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // returns when the process with the other end has ended in any way
	endAll(dir)
	_ = os.RemoveAll(dir)
	os.Exit(0)
}

// NewRun builds superctl, installs the Python servers and starts the guardian. The arguments are
// passed to scripts/deps: "--demo" installs only gunicorn and Django.
func NewRun(deps ...string) (*Run, error) {
	repo, err := repository()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sctl-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	r := &Run{Dir: dir, Binary: filepath.Join(dir, "superctl"), repo: repo}
	r.goshop = sync.OnceValues(func() (string, error) { return buildSite(repo, filepath.Join(dir, "goshop")) })
	// Workers of another user must be able to reach their release.
	if err := os.Chmod(dir, 0o755); err != nil { // see above
		return nil, err
	}
	if err := r.startGuardian(); err != nil {
		return nil, fmt.Errorf("start the guardian: %w", err)
	}
	if err := r.prepare(deps); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Main implements TestMain with a run: it makes one, passes it to use, runs the tests and returns
// the exit code.
func Main(tests interface{ Run() int }, use func(*Run)) int {
	r, err := NewRun()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	use(r)
	code := tests.Run()
	if err := r.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// prepare builds the binary and installs the servers in parallel, because both take long the first
// time.
func (r *Run) prepare(deps []string) error {
	var build, install error
	var both sync.WaitGroup
	both.Go(func() { build = r.Build(r.Binary) })
	both.Go(func() { install = r.install(deps) })
	both.Wait()
	return errors.Join(build, install)
}

// Build builds superctl, with additional build tags.
func (r *Run) Build(path string, tags ...string) error {
	if more := os.Getenv("SUPERCTL_E2E_TAGS"); more != "" {
		tags = append(tags, more)
	}
	if err := build(r.repo, path, ".", "-tags", strings.Join(tags, ",")); err != nil {
		return fmt.Errorf("build superctl: %w", err)
	}
	return nil
}

// build builds a program with the options of a release (tools/dist), so that Go compiles each package once for both.
// With SUPERCTL_E2E_RACE it has the race detector, which needs cgo.
func build(repo, path, program string, options ...string) error {
	kind, cgo := "-ldflags=-s -w", "CGO_ENABLED=0"
	if os.Getenv("SUPERCTL_E2E_RACE") != "" {
		kind, cgo = "-race", "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", kind, "-o", path}, options...), program)...)
	cmd.Dir, cmd.Env = repo, append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// buildSite builds the Go site.
func buildSite(repo, path string) (string, error) {
	if err := build(repo, path, "./e2e/apps/goshop"); err != nil {
		return "", fmt.Errorf("build the Go site: %w", err)
	}
	return path, nil
}

// install installs the Python servers, or uses those of another Python (scripts/pythons).
func (r *Run) install(deps []string) error {
	if other := os.Getenv("SUPERCTL_E2E_PYTHON"); other != "" {
		r.Apps.Cache = other
		return nil
	}
	var stdout bytes.Buffer
	cmd := exec.Command(filepath.Join(r.repo, "scripts", "deps"), deps...)
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("scripts/deps: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	r.Apps.Cache = lines[len(lines)-1]
	return nil
}

// Close ends the run: it removes the directory, and returns an error that lists the processes left.
func (r *Run) Close() error {
	var err error
	if left := processes(r.Dir, os.Getpid(), r.guardian.Process.Pid); len(left) > 0 {
		err = fmt.Errorf("processes are left over:\n%s", describe(left))
	}
	_ = r.leash.Close()
	_ = r.guardian.Wait()
	return err
}

func (r *Run) startGuardian() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	// a race build would sleep 1 s at its exit
	cmd.Env = append(os.Environ(), guardianOf+"="+r.Dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	leash, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.guardian, r.leash = cmd, leash
	return nil
}

// repository returns the directory of go.mod.
func repository() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("find the repository: not inside a Go module")
	}
	return filepath.Dir(mod), nil
}
