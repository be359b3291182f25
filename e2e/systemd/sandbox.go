// Package systemd runs superctl under a real systemd, booted in separate namespaces on this
// machine, for the end-to-end tests.
//
// It owns the sandbox (sandbox.sh): a system manager as pid 1 with a journal and a bus, on an
// overlay of this machine's root, so that units, users and files of a test vanish with it. The
// sandbox ends with the test binary. It shares the network of the machine, so that a load client
// outside reaches the site inside.
//
// It needs root; Unavailable reports what is missing.
package systemd

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/proc"
)

// rootVar names a root file system with another version of systemd (scripts/systemd-root creates
// it).
const rootVar = "SUPERCTL_SYSTEMD_ROOT"

//go:embed sandbox.sh
var script []byte

// Bind is a file or directory of this machine that the sandbox sees.
type Bind struct {
	From, To string
	Writable bool
}

// Sandbox is one booted systemd.
type Sandbox struct {
	t    harness.T
	dir  string
	name string
}

// Unavailable returns why no sandbox can be booted on this machine, or "".
func Unavailable() string {
	if os.Geteuid() != 0 {
		return "needs root: a systemd of its own is booted in new namespaces"
	}
	for _, program := range []string{
		"systemctl", "journalctl", "dbus-daemon", "unshare", "nsenter", "setpriv", "useradd",
	} {
		if _, err := exec.LookPath(program); err != nil {
			return "needs " + program + " (Debian packages systemd, dbus, util-linux, passwd)"
		}
	}
	mounts, err := proc.Mounts()
	if err != nil {
		return err.Error()
	}
	if slices.ContainsFunc(mounts, func(m proc.Mount) bool { return m.Type == "cgroup2" && !m.ReadOnly }) {
		return ""
	}
	return "needs a writable cgroup2 mount"
}

// Machine describes the machine to boot.
type Machine struct {
	Root        string // of its file system; default: the one that SUPERCTL_SYSTEMD_ROOT names, else this machine's
	Controllers bool   // turn on what this machine has of cgroup2 controllers, for all of it: such a test runs alone
	PrivateNet  bool   // a network of its own, with nothing but loopback
	Binds       []Bind
}

// Boot boots systemd and ends it with the test. dir is an existing directory for the files of the
// sandbox on this machine.
func Boot(t harness.T, dir string, m Machine) *Sandbox {
	t.Helper()
	s := &Sandbox{t: t, dir: dir, name: fmt.Sprintf("%d-%s", os.Getpid(), filepath.Base(dir))}
	if err := apps.WriteExecutable(s.script(), script); err != nil {
		t.Fatalf("%v", err)
	}
	args := []string{"start"}
	if m.Controllers {
		args = append(args, "--controllers")
	}
	if m.PrivateNet {
		args = append(args, "--private-net")
	}
	if root := cmp.Or(m.Root, os.Getenv(rootVar)); root != "" {
		args = append(args, "--root", root)
	}
	for _, b := range m.Binds {
		kind := "--bind-ro"
		if b.Writable {
			kind = "--bind"
		}
		args = append(args, kind, b.From+":"+b.To)
	}
	t.Cleanup(s.end)
	ctx, cancel := bounded()
	defer cancel()
	if out, err := s.command(ctx, args...).CombinedOutput(); err != nil {
		t.Fatalf("boot systemd: %v\n%s", err, out)
	}
	return s
}

func (s *Sandbox) script() string { return filepath.Join(s.dir, "sandbox.sh") }

// bounded limits the time of a command inside; only a defect takes that long.
func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 10*harness.Patience) // a build on a busy machine
}

func (s *Sandbox) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.script(), args...)
	cmd.Env = append(os.Environ(), "SDBOX_NAME="+s.name, "SDBOX_STATE="+filepath.Join(s.dir, "box"), "SDBOX_TIMEOUT=60")
	return cmd
}

func (s *Sandbox) end() {
	s.t.Helper()
	if s.t.Failed() {
		s.t.Logf(
			"the journal:\n%s",
			s.Run("journalctl", "--no-pager", "-o", "short-precise", "--no-hostname", "-n", "300").Text(),
		)
	}
	ctx, cancel := bounded()
	defer cancel()
	if out, err := s.command(ctx, "stop").CombinedOutput(); err != nil {
		s.t.Errorf("end systemd: %v\n%s", err, out)
	}
}

// Result is the output and exit code of a command inside.
type Result struct {
	t              harness.T
	args           []string
	Code           int // -1: ended by a signal
	Stdout, Stderr string
}

// Run runs a command inside the sandbox, as root.
func (s *Sandbox) Run(args ...string) Result {
	s.t.Helper()
	ctx, cancel := bounded()
	defer cancel()
	cmd := s.command(ctx, append([]string{"exec", "--"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("run %s: %v", strings.Join(args, " "), err)
	}
	return Result{
		t: s.t, args: args, Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String(),
	}
}

// Start starts a command inside the sandbox, as root, that ends when its standard input is closed.
func (s *Sandbox) Start(stdout io.Writer, args ...string) (stdin io.WriteCloser, wait func() error) {
	s.t.Helper()
	cmd := s.command(context.Background(), append([]string{"exec", "--"}, args...)...)
	cmd.Stdout = stdout
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatalf("start %s: %v", strings.Join(args, " "), err)
	}
	return stdin, cmd.Wait
}

// Want ends the test unless the command ended with that exit code.
func (r Result) Want(code int) Result {
	r.t.Helper()
	if r.Code != code {
		r.t.Fatalf("%s: exit code %d, want %d\n%s", strings.Join(r.args, " "), r.Code, code, r.Text())
	}
	return r
}

// Says fails the test unless the output of the command contains the texts.
func (r Result) Says(text string) Result {
	r.t.Helper()
	if !strings.Contains(r.Text(), text) {
		r.t.Errorf("%s does not say %q:\n%s", strings.Join(r.args, " "), text, r.Text())
	}
	return r
}

// Text returns the whole output.
func (r Result) Text() string { return r.Stdout + r.Stderr }
