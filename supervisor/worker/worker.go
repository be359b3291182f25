package worker

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/supervisor/cgroup"
)

// ErrGone says that a worker of an earlier daemon is no more, or that another process has its pid
// now.
var ErrGone = errors.New("the process is gone")

// Worker is one running process, known by a pidfd, so that it can never be taken for another.
type Worker struct {
	pid     int
	start   uint64
	session int
	tag     string
	group   string // control group, "" when it has none of its own
	child   bool   // ours to reap
	file    *os.File
	done    chan struct{}
	exit    Exit // valid once done is closed

	// ended is closed when nothing of it is left, or none of its processes are to be ended. Until
	// then its zombie is not reaped: it keeps the number of its process group from strangers.
	ended   chan struct{}
	endOnce sync.Once

	mu   sync.Mutex
	then []func() // guarded by mu: what AfterExit runs
	over bool     // guarded by mu: done is closed
}

// Exit is how a worker ended.
type Exit struct {
	Known  bool           // false for an adopted worker, on a kernel before 6.15
	Code   int            // when no signal ended it
	Signal syscall.Signal // 0 when none did
}

// String is the end in words.
func (e Exit) String() string {
	switch {
	case !e.Known:
		return "ended; how is unknown, since an earlier daemon started it"
	case e.Signal != 0:
		return "killed by " + unix.SignalName(e.Signal)
	default:
		return fmt.Sprintf("exit code %d", e.Code)
	}
}

// ExitError says that a command has ended otherwise than with exit code 0.
type ExitError struct{ Exit }

func (e *ExitError) Error() string { return e.String() }

func newWorker(pid, pidfd int, tag, group string, child bool) (*Worker, error) {
	seen, err := proc.ReadStat(pid)
	if err != nil && !child {
		return nil, errors.Join(err, unix.Close(pidfd))
	}
	// The runtime's poller waits for the pidfd only when it is non-blocking.
	if err := unix.SetNonblock(pidfd, true); err != nil {
		return nil, errors.Join(err, unix.Close(pidfd))
	}
	w := &Worker{
		pid: pid, start: seen.Start, session: seen.Session, tag: tag, group: group, child: child,
		file: os.NewFile(uintptr(pidfd), "pidfd"), done: make(chan struct{}), ended: make(chan struct{}),
	}
	go w.wait()
	return w, nil
}

// GoneError is ErrGone of a worker whose end its pidfd still knows.
type GoneError struct{ Exit Exit }

// Error says how it ended.
func (e *GoneError) Error() string { return ErrGone.Error() + ": " + e.Exit.String() }

// Is makes it an ErrGone.
func (e *GoneError) Is(target error) bool { return target == ErrGone }

// Adopt takes over a worker that an earlier daemon started. The start time, in clock ticks since
// boot (field 22 of proc_pid_stat(5)), proves that the pid is still that worker's; else the error
// is ErrGone. pidfd is the earlier daemon's, or -1; from then on it is Adopt's. It knows of a
// worker that has died meanwhile how it ended. groups is the tree that it may be in.
func Adopt(pid int, start uint64, tag string, pidfd int, groups *cgroup.Tree) (*Worker, error) {
	if pidfd >= 0 && proc.PIDOf(pidfd) != pid {
		exit := exitInfo(pidfd)
		if err := unix.Close(pidfd); err != nil {
			return nil, err
		}
		if exit.Known {
			return nil, &GoneError{exit}
		}
		pidfd = -1
	}
	if pidfd < 0 {
		var err error
		pidfd, err = unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		if errors.Is(err, unix.ESRCH) {
			return nil, ErrGone
		}
		if err != nil {
			return nil, fmt.Errorf("open process %d: %w", pid, err)
		}
	}
	if now, err := startTime(pid); err != nil || now != start {
		return nil, errors.Join(ErrGone, unix.Close(pidfd))
	}
	return newWorker(pid, pidfd, tag, groups.GroupOf(pid), false)
}

// Descriptor hands the pidfd to f, which must not keep it. It is os.ErrClosed once the worker has
// ended.
func (w *Worker) Descriptor(f func(fd int) error) error { return w.control(f) }

func (w *Worker) root() root {
	r := root{pid: w.pid, start: w.start, tag: w.tag}
	if !w.child && !w.groupEmpty() { // a child's group is looked for while its zombie is there
		r.session = w.session
	}
	return r
}

// groupEmpty reports whether the kernel says that no process is in the worker's process group
// (PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9). The pidfd is that group's for good, also when its number
// has been given away.
func (w *Worker) groupEmpty() bool {
	const processGroup = 1 << 2 // PIDFD_SIGNAL_PROCESS_GROUP
	err := w.control(func(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, processGroup) })
	return errors.Is(err, unix.ESRCH)
}

// letGo has the worker reaped once it has exited: its processes have ended, or are not to be ended.
func (w *Worker) letGo() { w.endOnce.Do(func() { close(w.ended) }) }

// PID is its process id.
func (w *Worker) PID() int { return w.pid }

// StartTime is when it was started, in clock ticks since boot.
func (w *Worker) StartTime() uint64 { return w.start }

// Tag is in the environment of everything that it starts.
func (w *Worker) Tag() string { return w.tag }

// Cgroup is the directory of its control group, "" when it has none of its own.
func (w *Worker) Cgroup() string { return w.group }

// Done is closed when it has exited. Its pid is not given away before KillAll has returned.
func (w *Worker) Done() <-chan struct{} { return w.done }

// AfterExit runs f in a goroutine of its own once Done is closed. Until then it needs none, whose
// stack would be memory for each of a thousand workers.
func (w *Worker) AfterExit(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		go f()
		return
	}
	w.then = append(w.then, f)
}

// tellExit closes done and runs what waits for that.
func (w *Worker) tellExit() {
	close(w.done)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for _, f := range w.then {
		go f()
	}
	w.then = nil
}

// Exit is how it ended; valid once Done is closed.
func (w *Worker) Exit() Exit { return w.exit }

// CheckSignals returns an error if this process may not signal workers: Linux is older than 5.3, or
// the seccomp profile of a container is older than pidfds.
func CheckSignals() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		err = errors.Join(unix.PidfdSendSignal(fd, 0, nil, 0), unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("superctl cannot signal workers: pidfd_open or pidfd_send_signal: %w: "+
			"allow both in the seccomp profile; they need Linux 5.3", err)
	}
	return nil
}

// Signal signals the main process only. A process that is gone already is no error.
func (w *Worker) Signal(sig syscall.Signal) error {
	err := w.control(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func (w *Worker) control(f func(fd int) error) error { return control(w.file, f) }

// control hands the descriptor of a file to f. A file that is closed is os.ErrClosed, which the error
// of the runtime's poller is not.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return &os.PathError{Op: "use", Path: file.Name(), Err: os.ErrClosed}
	}
	return result
}

// wait is the one place where a worker is waited for. A parked goroutine, no thread: the runtime's
// poller tells when the pidfd is readable, which it becomes when the process has exited
// (pidfd_open(2)).
func (w *Worker) wait() {
	raw, err := w.file.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool { return w.collect(int(fd)) })
	}
	if err != nil {
		panic("worker: wait for a pidfd: " + err.Error())
	}
	w.tellExit()
	<-w.ended
	if w.child {
		_ = w.control(func(fd int) error { return unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG, nil) })
		forget(w.pid)
	}
	_ = w.file.Close()
}

// reapTime is how long an adopted worker's exit status is waited for.
const reapTime = 20 * time.Millisecond

// collect looks whether the process has exited, and how.
func (w *Worker) collect(fd int) (over bool) {
	if w.child {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch {
		case err == nil && info.Signo == 0:
			return false
		case err == nil:
			w.exit = exitOf(&info)
			return true
		case errors.Is(err, unix.EINTR):
			return w.collect(fd)
		}
		// ECHILD: it was reaped elsewhere. How it ended, the pidfd may still know.
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); err == nil && n == 0 {
		return false
	}
	// How it ended is known once its parent has reaped it, which POLLHUP tells; that parent is
	// init, and quick.
	for fds[0].Revents&unix.POLLHUP == 0 {
		fds[0].Events = 0
		if n, err := unix.Poll(fds, int(reapTime.Milliseconds())); n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	w.exit = exitInfo(fd)
	return true
}

// exitOf reads a siginfo_t of SIGCHLD: si_code after three ints, and si_status behind si_pid and
// si_uid (siginfo.h).
func exitOf(info *unix.Siginfo) Exit {
	b := (*[128]byte)(unsafe.Pointer(info))
	status := *(*int32)(unsafe.Pointer(&b[24]))
	const cldExited = 1
	if info.Code == cldExited {
		return Exit{Known: true, Code: int(status)}
	}
	return Exit{Known: true, Signal: syscall.Signal(status)}
}

// exitInfo asks the pidfd itself, as kernels from 6.15 answer it for anybody who holds it.
func exitInfo(fd int) Exit {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(fd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return Exit{}
	}
	status := syscall.WaitStatus(info.Exit_code)
	if status.Signaled() {
		return Exit{Known: true, Signal: status.Signal()}
	}
	return Exit{Known: true, Code: status.ExitStatus()}
}
