package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

// scene is where one contender runs: a directory with two releases. It is the harness's T.
type scene struct {
	run      *harness.Run
	dir      string
	cleanups []func()
	failed   bool
}

type given struct{ error }

// make makes the directory and its releases.
func (s *scene) make() {
	dir, err := os.MkdirTemp(s.run.Dir, "b")
	s.must(err)
	s.must(os.Chmod(dir, 0o755))
	s.dir = dir
	for _, name := range names {
		s.must(s.run.Apps.Release(filepath.Join(dir, name), behaviour()))
	}
	s.point(names[0])
}

// point turns the link `current`, as Capistrano does.
func (s *scene) point(release string) {
	s.must(os.Symlink(filepath.Join(s.dir, release), filepath.Join(s.dir, "new")))
	s.must(os.Rename(filepath.Join(s.dir, "new"), filepath.Join(s.dir, "current")))
}

func (s *scene) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// spawn starts a server; it is ended with the scene.
func (s *scene) spawn(files []*os.File, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "SHOP_E2E_RUN="+s.dir, "PYTHONUNBUFFERED=1")
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	s.must(err)
	defer log.Close() //nolint:errcheck // the server has its own
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.must(cmd.Start())
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its own group
		<-done
	})
	return cmd
}

// answering waits until somebody answers at the address.
func (s *scene) answering(address string) {
	for deadline := time.Now().Add(time.Minute); ; {
		r, err := load.Start(load.Config{Network: "tcp", Address: address, Clients: 1, MaxRequests: 1, Shapes: []load.Shape{load.Get("/healthz/")}})
		s.must(err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_ = r.Wait(ctx, func(records []load.Record) bool { return len(records) == 1 })
		cancel()
		if res := r.Stop(); len(res.Failed()) == 0 && len(res.Records) == 1 {
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.path("log"))
			s.Fatalf("nobody answers at %s\n%s", address, text)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// freePort is an address that nobody uses.
func (s *scene) freePort() string {
	l, err := net.Listen("tcp4", "127.0.0.9:0")
	s.must(err)
	defer l.Close() //nolint:errcheck // nothing was written
	return l.Addr().String()
}

// calm lets the load go on for a while.
func (s *scene) calm(r *load.Run) { s.must(r.More(limit(), int(rate*calm.Seconds()))) }

// until waits until a request is answered by a release, and none is by another for a while.
func (s *scene) until(r *load.Run, release string) {
	s.must(r.Wait(limit(), func(records []load.Record) bool {
		since := 0
		for i := len(records) - 1; i >= 0 && records[i].Release == release; i-- {
			since++
		}
		return since >= 30
	}))
}

func limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	_ = cancel // it ends with the bench
	return ctx
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
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
}

// What follows makes it a harness.T.

// Helper is for tests.
func (s *scene) Helper() {}

// Name names it.
func (s *scene) Name() string { return "bench" }

// Logf keeps quiet.
func (s *scene) Logf(string, ...any) {}

// Errorf tells what is wrong.
func (s *scene) Errorf(format string, args ...any) {
	s.failed = true
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// Fatalf ends the scene.
func (s *scene) Fatalf(format string, args ...any) { panic(given{fmt.Errorf(format, args...)}) }

// Cleanup is run at the end, the newest first.
func (s *scene) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Failed says whether anything was wrong.
func (s *scene) Failed() bool { return s.failed }

var _ harness.T = (*scene)(nil)
