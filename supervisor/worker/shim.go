package worker

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"superctl/supervisor/cgroup"
)

// ShimArg is the hidden first argument with which superctl re-executes itself to become a worker.
const ShimArg = "__exec"

// firstFD is the number of a worker's first listener, SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstFD = 3

// Shim turns this process into a worker: it sets what can only be set from inside, then executes
// the worker's command in its own place, so that the pid stays. Its argument is the number of
// listeners; the descriptor that follows them takes the reason when it fails, which is when it
// returns, and the one after that has its order.
func Shim(args []string) int {
	runtime.LockOSThread()
	files := -1
	if len(args) == 1 {
		files, _ = strconv.Atoi(args[0])
	}
	status := firstFD + files
	o, err := unseal(status + 1)
	if files < 0 || err != nil || o.Files != files {
		fmt.Fprintln(os.Stderr, "superctl: "+ShimArg+" is for superctl's own use")
		return 2
	}
	unix.CloseOnExec(status)
	err = o.become(status)
	_, _ = unix.Write(status, []byte(err.Error()))
	return 127
}

// become turns this process into the worker. The order of the steps matters: see each.
func (o *order) become(status int) error {
	// Everything above the listeners goes at the exec; the status descriptor is how Start knows
	// that it happened.
	if err := unix.CloseRange(uint(status), ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil &&
		!errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("close_range: %w", err)
	}
	if err := o.confine(); err != nil {
		return err
	}
	if err := o.changeUser(); err != nil {
		return err
	}
	secrets, err := o.Secrets.readAll() // as the worker's user, who may have put other files there
	if err != nil {
		return err
	}
	if err := os.Chdir(o.Dir); err != nil {
		return err
	}
	if err := defaultSignals(); err != nil {
		return err
	}
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("clear the signal mask: %w", err)
	}
	env := append(append(o.Env, secrets...), "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	return execute(o.Path, o.Args, env)
}

// confine sets the control group, the limits and the capabilities, as the daemon's user: it may
// move a process between groups of the tree, and must before anything could be forked.
func (o *order) confine() error {
	// Not by CLONE_INTO_CGROUP: where the unit restricts namespaces, clone3 is not there.
	if o.Cgroup != "" {
		if err := cgroup.Join(o.Cgroup); err != nil {
			return err
		}
	}
	if o.NoFile > 0 {
		limit := unix.Rlimit{Cur: o.NoFile, Max: o.NoFile}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return fmt.Errorf("limit of open files %d: %w", o.NoFile, err)
		}
	}
	// An ambient capability of the unit (CAP_NET_BIND_SERVICE) is not for workers.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil &&
		!errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	return nil
}

// defaultSignals gives every signal that is ignored its default action. One that is caught becomes
// default at an exec, but one that is ignored stays ignored (signal(7)): Python would never see the
// SIGINT that nohup or a background shell made the daemon ignore. os/signal knows neither 32 nor
// 33, which the C library keeps for its threads.
func defaultSignals() error {
	// The kernel's struct sigaction on 64-bit Linux: handler, flags, restorer (where there is one),
	// mask.
	type action [4]uint64
	const ignored, last, maskSize = 1, 64, 8
	for sig := uintptr(1); sig <= last; sig++ {
		var now, byDefault action
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), maskSize, 0, 0)
		if errno == 0 && now[0] == ignored {
			_, _, errno = unix.RawSyscall6(
				unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&byDefault)), 0, maskSize, 0, 0,
			)
		}
		if errno != 0 {
			return fmt.Errorf("default action of signal %d: %w", sig, errno)
		}
	}
	return nil
}

func (o *order) changeUser() error {
	u := o.User
	if u == nil {
		return nil
	}
	groups := make([]int, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setgid(int(u.GID)); err != nil {
		return fmt.Errorf("set group %d: %w", u.GID, err)
	}
	if err := syscall.Setuid(int(u.UID)); err != nil {
		return fmt.Errorf("set user %d: %w", u.UID, err)
	}
	return nil
}
