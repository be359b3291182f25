// Package running finds a server that superctl did not start, and describes it: its processes, on
// which addresses it listens, what kind of server it is, and what manages it.
//
// It only reads. In particular it never duplicates a descriptor of the server: while a duplicate of
// a connection is open, the client does not notice that the server has closed it.
package running

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/daemon/systemd"
	"superctl/proc"
	"superctl/servers"
	"superctl/socket"
)

// Kind is a server program, as servers.ServerOf calls it.
type Kind string

// The kinds of which it is known how they end without losing a request.
const (
	Gunicorn Kind = "gunicorn"
	UWSGI    Kind = "uwsgi"
	Uvicorn  Kind = "uvicorn"
	Superctl Kind = "superctl" // a daemon of superctl and its workers; Find does not return it
	Unknown  Kind = ""
)

// Process identifies a process: its PID may be reused, the pair is not.
type Process struct {
	PID   int
	Start uint64 // in clock ticks since boot (proc.Stat)
}

// Listener is a socket on which the server accepts connections.
type Listener struct {
	socket.Listening     // PID is the master, unless only other processes of the server have it open
	FD               int // its number in the process PID
}

// String returns the address by which clients reach the listener, as the config writes it.
func (l Listener) String() string {
	l.Path = socket.PublicPath(l.Path)
	return l.Listening.String()
}

// Server is a running server.
type Server struct {
	Master  Process
	Kind    Kind
	Name    string // the name of the program, for messages
	Args    []string
	Dir     string // working directory of the master
	UID     uint32 // effective, of the master
	Manager Manager

	// of gunicorn: "sync", "gthread", "asgi" and so on, as gunicorn names them; "" for others
	WorkerClass string
	// TLS reports whether the server itself speaks TLS.
	TLS bool
	// ReusePort reports whether each worker has a listener of its own on the address.
	ReusePort bool
	// NoMaster, Router and Vassal report how uWSGI runs: without a master process, behind its HTTP
	// router (--http), and under an emperor.
	NoMaster, Router, Vassal bool
	// DieOnTerm reports whether SIGTERM stops a uWSGI server rather than reloads it (die-on-term).
	DieOnTerm bool

	Listeners []Listener // in the order of their addresses
	// OtherNetwork reports whether the server is in another network namespace than this process.
	OtherNetwork bool
}

// NotFoundError is the error for a target that no running server matches.
type NotFoundError struct {
	Target string
	Why    string
	Unit   string // a systemd unit of that name, which exists and does not run; "" = there is none
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("%s: %s", e.Target, e.Why) }

// Find returns the server that a target names: a PID of any of its processes, a systemd unit, or a
// program of supervisord.
func Find(ctx context.Context, target string) (*Server, error) {
	if pid, err := strconv.Atoi(target); err == nil {
		return FindPID(ctx, pid)
	}
	unit := target
	if !strings.Contains(unit, ".") {
		unit += ".service"
	}
	service, err := systemd.FindService(ctx, unit)
	if err != nil {
		return nil, err
	}
	if service == nil || service.MainPID() == 0 {
		s, err := findProgram(ctx, target) // it may have the name of a unit of earlier
		var none *NotFoundError
		if service != nil && errors.As(err, &none) {
			err = &NotFoundError{unit, "the unit is not running", unit}
		}
		return s, err
	}
	top, err := topServer(service.MainPID())
	if err != nil {
		return nil, err
	}
	if top == 0 {
		return nil, &NotFoundError{Target: unit, Why: "none of its processes listens"}
	}
	return describe(ctx, top)
}

// FindPID returns the server that a process belongs to.
func FindPID(ctx context.Context, pid int) (*Server, error) {
	target := strconv.Itoa(pid)
	if _, err := proc.ReadStat(pid); err != nil {
		return nil, &NotFoundError{Target: target, Why: "there is no such process"}
	}
	top, err := climb(pid)
	if err == nil && top == 0 {
		top, err = topServer(pid)
	}
	switch {
	case err != nil:
		return nil, notExaminable(pid, err)
	case top == 0:
		return nil, &NotFoundError{Target: target, Why: "neither this process nor one that it started listens"}
	}
	return describe(ctx, top)
}

// climb returns the topmost process that shares a listener with a process, or 0 if the process has
// none. Process 1 does not count: it keeps the sockets of socket units.
func climb(pid int) (top int, err error) {
	own, err := inodesOf(pid)
	if err != nil || len(own) == 0 {
		return 0, err
	}
	for {
		stat, err := proc.ReadStat(pid)
		if err != nil {
			return 0, err
		}
		if stat.Parent <= 1 {
			return pid, nil
		}
		above, err := inodesOf(stat.Parent)
		if err != nil || !slices.ContainsFunc(above, func(i uint64) bool { return slices.Contains(own, i) }) {
			return pid, nil //nolint:nilerr // a parent that may not be inspected does not belong to the server
		}
		pid = stat.Parent
	}
}

// topServer returns the first process at or below pid that listens, or 0.
func topServer(pid int) (int, error) {
	for level := []int{pid}; len(level) > 0; {
		var next []int
		for _, p := range level {
			inodes, err := inodesOf(p)
			if err != nil {
				return 0, err
			}
			if len(inodes) > 0 {
				return p, nil
			}
			children, err := proc.Children(p)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
			next = append(next, children...)
		}
		level = next
	}
	return 0, nil
}

// inodesOf returns the inodes of the listeners of a process on which users can reach it.
func inodesOf(pid int) (list []uint64, err error) {
	all, err := socket.ListenersOf([]int{pid})
	for _, l := range all {
		if !l.Private() {
			list = append(list, l.Inode)
		}
	}
	return list, err
}

// describe describes the server with that master.
func describe(ctx context.Context, pid int) (*Server, error) {
	stat, err := proc.ReadStat(pid)
	if err != nil {
		return nil, err
	}
	s := &Server{Master: Process{pid, stat.Start}}
	if s.Args, err = proc.Args(pid); err != nil {
		return nil, err
	}
	if s.Dir, err = proc.Dir(pid); err != nil {
		return nil, notExaminable(pid, err)
	}
	if s.UID, err = proc.UID(pid); err != nil {
		return nil, err
	}
	if err := s.inspect(); err != nil {
		return nil, err
	}
	if err := s.findListeners(); err != nil {
		return nil, err
	}
	own, errOwn := proc.NetNamespace(os.Getpid())
	its, errIts := proc.NetNamespace(pid)
	s.OtherNetwork = errOwn == nil && errIts == nil && own != its
	s.Manager, err = managerOf(ctx, pid)
	return s, err
}

// notExaminable says what to do if an error means that the kernel does not let superctl examine a process.
func notExaminable(pid int, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	next := "run superctl with sudo"
	if os.Geteuid() == 0 { // as in a container
		next = "give superctl the capability SYS_PTRACE (docker run --cap-add SYS_PTRACE)"
	}
	return fmt.Errorf("process %d cannot be examined: the kernel denies superctl the right to: %s", pid, next)
}

// inspect finds out the kind of the server from its command, config files and variables.
func (s *Server) inspect() error {
	env, err := proc.Environ(s.Master.PID)
	if err != nil {
		return err
	}
	in := servers.Input{Command: s.command(), Release: s.Dir}
	for name, value := range env.All() {
		in.Env = append(in.Env, name+"="+value)
	}
	s.Name, _ = proc.Name(s.Master.PID) // for messages only
	name := servers.ServerOf(in.Command)
	if name == "" {
		return nil
	}
	s.Name = name
	if k := Kind(name); k == Gunicorn || k == UWSGI || k == Uvicorn {
		s.Kind = k
	}
	applied := servers.Apply(in)
	_, s.TLS = applied.Option("--certfile", "--keyfile", "--ssl-certfile", "--ssl-keyfile", "--https", "--https-socket")
	switch s.Kind {
	case Gunicorn:
		s.inspectGunicorn(applied)
	case UWSGI:
		s.inspectUWSGI(applied)
		_, s.Vassal = env.Lookup("UWSGI_EMPEROR_FD")
	case Uvicorn, Superctl, Unknown:
	}
	return nil
}

func (s *Server) inspectGunicorn(applied servers.Applied) {
	class, _ := applied.Option("-k", "--worker-class")
	threads, _ := applied.Option("--threads")
	s.WorkerClass = cmp.Or(class, "sync")
	if n, err := strconv.Atoi(threads); err == nil && n > 1 && s.WorkerClass == "sync" {
		s.WorkerClass = "gthread"
	}
	_, s.ReusePort = applied.Option("--reuse-port")
}

func (s *Server) inspectUWSGI(applied servers.Applied) {
	_, s.DieOnTerm = applied.Option("--die-on-term")
	_, s.Router = applied.Option("--http", "--fastrouter", "--rawrouter")
	_, master := applied.Option("-M", "--master")
	s.NoMaster = !master
}

// command returns the words of the server's command. With setproctitle installed gunicorn replaces
// its command line by a title such as "gunicorn: master [shop.wsgi]".
func (s *Server) command() []string {
	if len(s.Args) > 0 && strings.HasPrefix(s.Args[0], "gunicorn: ") {
		return []string{"gunicorn"}
	}
	return s.Args
}

// findListeners finds the listeners of all processes of the server.
func (s *Server) findListeners() error {
	pids, err := s.PIDs()
	if err != nil {
		return err
	}
	all, err := socket.ListenersOf(pids) // in the order of pids, so that the master's come first
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.Private() || slices.ContainsFunc(s.Listeners, func(o Listener) bool { return o.Inode == l.Inode }) {
			continue
		}
		fd, err := descriptorOf(l.PID, l.Inode)
		if err != nil {
			return err
		}
		s.Listeners = append(s.Listeners, Listener{l, fd})
	}
	s.ReusePort = s.ReusePort || sharesAddress(s.Listeners)
	slices.SortFunc(s.Listeners, func(a, b Listener) int { return strings.Compare(a.String(), b.String()) })
	return nil
}

// sharesAddress reports whether two of the listeners have the same address.
func sharesAddress(list []Listener) bool {
	seen := map[string]bool{}
	for _, l := range list {
		if seen[l.String()] {
			return true
		}
		seen[l.String()] = true
	}
	return false
}

// descriptorOf returns the number of a socket in a process.
func descriptorOf(pid int, inode uint64) (int, error) {
	open, err := proc.Descriptors(pid)
	if err != nil {
		return -1, err
	}
	for _, d := range open {
		if number, ok := d.Socket(); ok && number == inode {
			return d.FD, nil
		}
	}
	return -1, fmt.Errorf("process %d has closed a listener meanwhile", pid)
}

// PIDs returns the processes of the server as of now: the master, then all that it has started. It
// is empty when the master has ended.
func (s *Server) PIDs() ([]int, error) {
	if !s.Running() {
		return nil, nil
	}
	list := []int{s.Master.PID}
	if s.Kind == Superctl { // its threads start processes, too
		workers, err := proc.Descendants(s.Master.PID)
		return append(list, workers...), err
	}
	for i := 0; i < len(list); i++ { // grows while it is read
		children, err := proc.Children(list[i])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		list = append(list, children...)
	}
	return list, nil
}

// Running reports whether the master still runs.
func (s *Server) Running() bool { return s.Master.running() }

func (p Process) running() bool {
	stat, err := proc.ReadStat(p.PID)
	return err == nil && stat.Start == p.Start && !stat.Ended()
}

// Open returns a pidfd of a process, which cannot come to mean another process. A process that has
// ended is fs.ErrNotExist.
func (p Process) Open() (pidfd int, err error) {
	pidfd, err = unix.PidfdOpen(p.PID, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return -1, fmt.Errorf("process %d: %w", p.PID, fs.ErrNotExist)
	case err != nil:
		return -1, fmt.Errorf("open process %d: %w", p.PID, err)
	case !p.running():
		return -1, errors.Join(fmt.Errorf("process %d: %w", p.PID, fs.ErrNotExist), unix.Close(pidfd))
	}
	return pidfd, nil
}

// String returns the server in a few words: "gunicorn (pid 812, gthread)".
func (s *Server) String() string {
	more := ""
	if s.WorkerClass != "" {
		more = ", " + s.WorkerClass + " workers"
	}
	return fmt.Sprintf("%s (pid %d%s)", s.Name, s.Master.PID, more)
}
