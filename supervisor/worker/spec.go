// Package worker starts, watches and ends one operating-system process of a release.
package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/supervisor/drainhook"
	"superctl/supervisor/requests"
	"superctl/supervisor/worker/starter"
)

// Spec says what to start.
type Spec struct {
	App, Process         string
	Release, Commit      string
	Generation, Instance int
	Command              []string // argv; argv[0] without a slash is searched in the PATH of Env
	Env                  []string // built (DESIGN 5); Start adds what differs from worker to worker
	Templates            []string // variables whose values have placeholders (Expand)
	Secrets              Secrets  // of the environment too
	Scratch              string   // directory for the files of its generation; "" = none
	Dir                  string
	User                 *Credential // nil = the daemon's own
	Files                []File      // become descriptors 3, 4, ...
	Notify               string      // path of the notify socket; "" = none
	Output               string      // path of the FIFO for stdout and stderr; "" = /dev/null
	NoFile               uint64      // RLIMIT_NOFILE; 0 = as the daemon has it
	HideListen           bool        // no LISTEN_FDS: the command names its descriptors
	Cgroup               string      // directory of the control group to be in, made already; "" = the daemon's own
	// directory of the drain hook and path of the worker's flag, also without the hook; "" = none
	// (package drainhook)
	Hook, Flag string
	// directory in which it counts its requests, and the paths of its health checks, which it does
	// not count (package requests); "" = it does not count
	Requests string
	Probes   []string
	Mark     string // of the supervisor; every process that it starts carries it (see EndMarked)
}

// File is a descriptor for a worker to inherit.
type File struct {
	Name  string // in LISTEN_FDNAMES, and in {fd.NAME} and {addr.NAME} of the command
	FD    int
	Addr  string
	Inode uint64 // by which a later daemon finds it among the worker's sockets; 0 = not known
}

// tagVar is the environment variable by which everything that a worker starts is known as its own.
const tagVar = "SUPERCTL_WORKER"

// listenersVar is the environment variable that says which sockets a worker was given, for a daemon whose
// state file does not have them: "web=81234:admin=81235", with the inode of each.
const listenersVar = "SUPERCTL_LISTENERS"

// Start starts a worker and returns when its command has been executed, or with the reason why it
// could not be. When ctx ends before that, the command is never executed.
func Start(ctx context.Context, spec Spec) (*Worker, error) {
	tag, err := newTag(spec.Mark)
	if err != nil {
		return nil, err
	}
	args, expanded, err := spec.expand()
	if err != nil {
		return nil, err
	}
	env := spec.environment(tag, expanded)
	path, err := LookPath(args[0], env, spec.Dir)
	if err != nil {
		return nil, err
	}
	o := starter.Order{
		Path: path, Args: args, Env: env, Secrets: spec.Secrets, Dir: spec.Dir, User: spec.User,
		NoFile: spec.NoFile, Cgroup: spec.Cgroup,
	}
	output := os.DevNull
	if spec.Output != "" {
		output = spec.Output
	}
	// For reading too: the worker itself then is a reader of its FIFO, so that it never meets EPIPE
	// while no daemon is there.
	out, err := unix.Open(output, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open output %s: %w", output, err)
	}
	defer unix.Close(out)
	return start(ctx, &o, out, out, spec.Files, tag)
}

// newTag makes the name by which all processes of one worker are known; it begins with the
// supervisor's mark.
func newTag(mark string) (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return mark + "-" + hex.EncodeToString(b[:]), nil
}

// start forks a starter. The descriptors are handed over raw: os.File.Fd and ExtraFiles clear
// O_NONBLOCK on the file description that all generations share, which blocks the accept of every
// holder (DESIGN 4).
func start(ctx context.Context, o *starter.Order, stdout, stderr int, files []File, tag string) (*Worker, error) {
	orders, err := seal(o)
	if err != nil {
		return nil, err
	}
	defer unix.Close(orders)
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	failure, status, err := newPipe() // a thousand workers may start at once
	if err != nil {
		return nil, err
	}
	defer failure.Close()
	fds := []uintptr{uintptr(null), uintptr(stdout), uintptr(stderr)}
	for _, f := range files {
		fds = append(fds, uintptr(f.FD))
	}
	fds = append(fds, uintptr(status), uintptr(orders))
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	pidfd := -1
	pid, err := fork(ofApp, proc.SelfExe, []string{"superctl", "starter"}, starterAttributes(tag, len(files), fds, &pidfd))
	_ = unix.Close(status)
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	w, err := newWorker(pid, pidfd, tag, o.Cgroup, true)
	if err != nil {
		return nil, err
	}
	return w.loaded(ctx, failure)
}

// loaded waits until a starter has become its worker. It is killed when ctx ends before: a file system that
// does not answer keeps it from its command, and a process in a call of the kernel takes the signal before
// it runs any code of that.
func (w *Worker) loaded(ctx context.Context, failure io.Reader) (*Worker, error) {
	keep := context.AfterFunc(ctx, func() { _ = w.Signal(unix.SIGKILL) })
	err := readFailure(failure)
	switch {
	case !keep():
		err = errors.Join(context.Cause(ctx), w.KillAll())
	case err != nil:
		w.letGo()
	default:
		return w, nil
	}
	<-w.Done()
	return nil, err
}

// starterAttributes returns what a starter begins with. It lives for milliseconds, so it takes one
// thread and no garbage collection.
func starterAttributes(tag string, files int, fds []uintptr, pidfd *int) *syscall.ProcAttr {
	return &syscall.ProcAttr{
		Dir: "/", Env: []string{
			tagVar + "=" + tag, starter.Variable + "=" + strconv.Itoa(files), "GOMAXPROCS=1", "GOGC=off",
		},
		Files: fds, Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: pidfd},
	}
}

// readFailure returns why a starter has not become its worker; nil once it has.
func readFailure(failure io.Reader) error {
	why, err := io.ReadAll(failure)
	if err == nil && len(why) > 0 {
		err = errors.New(string(why))
	}
	return err
}

// environment is the worker's, complete but for LISTEN_PID, which only the starter knows. expanded is
// what Templates have become.
func (s *Spec) environment(tag string, expanded []string) []string {
	env := slices.DeleteFunc(slices.Concat(s.Env, expanded), func(e string) bool { return reserved(nameOf(e)) })
	env = s.describe(env)
	env = append(env,
		tagVar+"="+tag,
		"SUPERCTL_APP="+s.App, "SUPERCTL_RELEASE="+s.Release, "SUPERCTL_COMMIT="+s.Commit,
		"SUPERCTL_GENERATION="+strconv.Itoa(s.Generation),
		"SUPERCTL_PROCESS="+s.Process, "SUPERCTL_INSTANCE="+strconv.Itoa(s.Instance))
	if s.Scratch != "" {
		env = append(env, "SUPERCTL_SCRATCH="+s.Scratch)
	}
	switch {
	case s.Hook != "":
		env = drainhook.Environment(env, s.Hook, s.Flag)
	case s.Flag != "":
		env = append(env, drainhook.Variable+"="+s.Flag)
	}
	if s.Requests != "" {
		env = append(env, requests.Variable+"="+s.Requests, requests.Probes+"="+strings.Join(s.Probes, "\n"))
	}
	if s.Notify != "" {
		env = append(env, "NOTIFY_SOCKET="+s.Notify)
	}
	return append(env, s.listening()...)
}

// listening is the variables that tell of the worker's listeners.
func (s *Spec) listening() (env []string) {
	if len(s.Files) == 0 {
		return nil
	}
	names, inodes := make([]string, len(s.Files)), make([]string, len(s.Files))
	for i, f := range s.Files {
		names[i], inodes[i] = f.Name, f.Name+"="+strconv.FormatUint(f.Inode, 10)
	}
	env = append(env, listenersVar+"="+strings.Join(inodes, ":"))
	if !s.HideListen {
		env = append(env, "LISTEN_FDS="+strconv.Itoa(len(s.Files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	return env
}

// Beside returns the command that runs argv as the worker itself would run: in its release, as its
// user and with its environment, but without its listeners, its notify socket, its drain hook and its
// counts, which are the worker's alone.
func (s Spec) Beside(argv []string) (Command, error) {
	s.Command = argv
	args, expanded, err := s.expand()
	if err != nil {
		return Command{}, err
	}
	s.Files, s.Notify, s.Hook, s.Flag, s.Requests = nil, "", "", "", ""
	env := slices.DeleteFunc(s.environment("", expanded), func(e string) bool { return nameOf(e) == tagVar })
	return Command{Args: args, Env: env, Secrets: s.Secrets, Dir: s.Dir, User: s.User, Mark: s.Mark}, nil
}

// Names is the names of all variables that the worker will have.
func (s *Spec) Names() []string {
	var names []string
	for _, kv := range append(s.environment("", s.Templates), "LISTEN_PID=") {
		names = append(names, nameOf(kv))
	}
	return slices.AppendSeq(names, maps.Keys(s.Secrets))
}

// reserved are the variables that Start sets itself.
func reserved(name string) bool {
	return strings.HasPrefix(name, "LISTEN_") || name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "SUPERCTL_")
}

// LookPath finds a command as execvp(3) would with the worker's own PATH.
func LookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	var path string
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for _, d := range filepath.SplitList(path) {
		p := filepath.Join(d, name)
		if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("command %q is not in PATH (%s)", name, path)
}
