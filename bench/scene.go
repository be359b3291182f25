package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// patience limits every wait.
const patience = time.Minute

// scene runs one server in a directory with releases. It implements the harness's T.
type scene struct {
	run      *harness.Run
	dir      string
	cleanups []func()
	failed   bool
}

type given struct{ error }

// make creates the directory. The processes that belong to it end with the scene.
func (s *scene) make() {
	dir, err := os.MkdirTemp(s.run.Dir, "b")
	s.must(err)
	s.must(os.Chmod(dir, 0o755))
	s.dir = dir
	s.Cleanup(func() {
		harness.EndAll(dir)
		_ = os.RemoveAll(dir)
	})
}

// release creates a release in the directory.
func (s *scene) release(name string, be apps.Behaviour) {
	s.must(s.run.Apps.Release(s.path(name), be))
}

// point points the link current to a release, like Capistrano.
func (s *scene) point(release string) { s.link(s.path(release), s.path("current")) }

// link creates or replaces a symbolic link.
func (s *scene) link(to, from string) {
	s.must(os.Symlink(to, from+".new"))
	s.must(os.Rename(from+".new", from))
}

func (s *scene) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// file writes a file.
func (s *scene) file(name, text string) string {
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	s.must(os.WriteFile(s.path(name), []byte(text), 0o644))
	return s.path(name)
}

// number reads a number from a file, or returns 0 if there is none.
func (s *scene) number(name string) int {
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// log returns the output of the scene's servers.
func (s *scene) log() string {
	text, _ := os.ReadFile(s.path("log"))
	return string(text)
}

// env returns the environment of the scene's programs. It keeps their files in the scene's
// directory.
func (s *scene) env() []string {
	return append(os.Environ(), "SHOP_E2E_RUN="+s.dir, "PYTHONUNBUFFERED=1", "HOME="+s.dir, "TMPDIR="+s.dir,
		"XDG_RUNTIME_DIR="+s.dir, "XDG_CONFIG_HOME="+s.dir, "XDG_STATE_HOME="+s.dir)
}

// process is a server that the scene started.
type process struct {
	*exec.Cmd
	ended chan struct{}
}

// spawn starts a server, which ends with the scene.
func (s *scene) spawn(files []*os.File, env []string, name string, args ...string) *process {
	p := &process{exec.Command(name, args...), make(chan struct{})}
	p.Dir, p.Env = s.dir, append(s.env(), env...)
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	s.must(err)
	defer log.Close()
	p.Stdout, p.Stderr, p.ExtraFiles = log, log, files
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.must(p.Start())
	go func() { _ = p.Wait(); close(p.ended) }()
	s.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	return p
}

// signal sends a signal. It is an error if the server has ended.
func (p *process) signal(sig os.Signal) error {
	if err := p.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal the server: %w", err)
	}
	return nil
}

// command runs a command, and adds the last line of its output to its error.
func (s *scene) command(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env()
	out, err := os.CreateTemp(s.dir, "out") // not a pipe: a server started by the command would keep it open
	s.must(err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err = cmd.Run(); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s has not returned after 20 s", filepath.Base(name))
	}
	text, _ := os.ReadFile(out.Name())
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
}

// signal sends a signal to a process of the scene.
func (s *scene) signal(pid int, sig syscall.Signal) error {
	if !slices.ContainsFunc(harness.Belonging(s.dir), func(p harness.Process) bool { return p.PID == pid }) {
		return fmt.Errorf("process %d is not there", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// within waits until a condition holds, and reports whether it did within the limit.
func within(limit time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// answering waits until a server answers at the address.
func (s *scene) answering(address string) {
	if !within(patience, func() bool { return answers(address) }) {
		log := s.log()
		s.Fatalf("nobody answers at %s; the end of the log:\n%s", address, log[max(0, len(log)-2000):])
	}
}

// answers reports whether a server answers at the address.
func answers(address string) bool {
	r, err := load.Start(load.Config{
		Network: "tcp", Address: address, Clients: 1, MaxRequests: 1, Shapes: []load.Shape{load.Get("/healthz/")},
	})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = r.WaitMore(ctx, 1)
	res := r.Stop()
	return len(res.Records) == 1 && len(res.Failed()) == 0
}

// freePort returns an unused address.
func (s *scene) freePort() string {
	l, err := net.Listen("tcp4", "127.0.0.9:0")
	s.must(err)
	defer l.Close()
	return l.Addr().String()
}

func (s *scene) must(err error) {
	if err != nil {
		panic(given{err})
	}
}

// recovered turns a failure inside a scene into an error.
func (s *scene) recovered(err *error) {
	if p := recover(); p != nil {
		g, ok := p.(given)
		if !ok {
			panic(p)
		}
		*err = g.error
	}
}

func (s *scene) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	s.cleanups = nil
}

// The following methods implement harness.T.

// Helper does nothing.
func (s *scene) Helper() {}

// Name returns the name of the scene.
func (s *scene) Name() string { return "bench" }

// Logf does nothing.
func (s *scene) Logf(string, ...any) {}

// Errorf records a failure.
func (s *scene) Errorf(format string, args ...any) {
	s.failed = true
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// Fatalf records a failure and ends the scene.
func (s *scene) Fatalf(format string, args ...any) { panic(given{fmt.Errorf(format, args...)}) }

// Cleanup registers a function to run at the end, the newest first.
func (s *scene) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Failed reports whether a failure was recorded.
func (s *scene) Failed() bool { return s.failed }

var _ harness.T = (*scene)(nil)
