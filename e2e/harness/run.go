// Package harness runs the real superctl, real servers and a real nginx for the end-to-end tests.
//
// It owns everything that such a test leaves on the machine: one directory and one mark in the environment name all
// processes of a run, each test proves at its end that nothing of its app is left, and a guardian process ends what a
// test binary that died could not. It waits for events (READY=1, exits, answers), never for time to pass. It uses ports
// that the kernel picks on loopback addresses of its own, so that tests may run beside each other.
//
// It asserts nothing about superctl but that it starts, stops and leaves nothing behind.
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

// T is the part of testing.TB that the harness needs, so that the demo and the benchmarks can use it too.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	Failed() bool
}

// mark is the environment variable that every process of a run carries.
const mark = "SHOP_E2E_RUN"

// guardianOf is the environment variable that makes this program the guardian of a run's directory.
const guardianOf = "SHOP_E2E_GUARDIAN_OF"

// Run is one run of the tests: a directory, the binary under test, and what makes releases.
type Run struct {
	Dir    string // holds everything; short, because paths of unix sockets are
	Binary string // superctl, built from this tree
	Apps   apps.Builder

	repo     string
	goshop   func() (string, error) // builds the site that is a Go program, once, and returns its path
	apps     atomic.Int32
	guardian *exec.Cmd
	leash    io.Closer // the guardian acts when it is closed
}

// Guardian must be the first call of main or TestMain: in the guardian process it does the guardian's work and exits.
func Guardian() {
	dir := os.Getenv(guardianOf)
	if dir == "" {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the process that holds the other end has ended, however it did
	endAll(dir)
	_ = os.RemoveAll(dir)
	os.Exit(0)
}

// NewRun builds superctl, installs the Python servers and starts the guardian. The arguments are passed to scripts/deps: "--demo"
// installs gunicorn and Django alone.
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
	// Workers of another user must get to their release.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
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

// Main is TestMain's work with a run: it makes one, hands it to use, runs the tests and returns the exit code.
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

// prepare builds the binary and installs the servers, side by side: the first time both take a while.
func (r *Run) prepare(deps []string) error {
	var build, install error
	var both sync.WaitGroup
	both.Go(func() { build = r.Build(r.Binary) })
	both.Go(func() { install = r.install(deps) })
	both.Wait()
	return errors.Join(build, install)
}

// Build builds superctl, with further build tags.
func (r *Run) Build(path string, tags ...string) error {
	args := []string{"build", "-o", path}
	if os.Getenv("SUPERCTL_E2E_RACE") != "" {
		args = append(args, "-race")
	}
	if more := os.Getenv("SUPERCTL_E2E_TAGS"); more != "" {
		tags = append(tags, more)
	}
	cmd := exec.Command("go", append(args, "-tags", strings.Join(tags, ","), ".")...)
	cmd.Dir = r.repo
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build superctl: %w\n%s", err, out)
	}
	return nil
}

// buildSite builds the site that is a Go program.
func buildSite(repo, path string) (string, error) {
	cmd := exec.Command("go", "build", "-o", path, "./e2e/apps/goshop")
	cmd.Dir = repo
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the Go site: %w\n%s", err, out)
	}
	return path, nil
}

// install sees to the Python servers.
func (r *Run) install(deps []string) error {
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

// Close ends the run: it removes the directory, and reports every process that is still there.
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
	cmd.Env = append(os.Environ(), guardianOf+"="+r.Dir, "GORACE=atexit_sleep_ms=0") // else a race build sleeps 1 s at its exit
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

// repository is the directory of go.mod.
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
