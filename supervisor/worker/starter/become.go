package starter

import (
	"strconv"
	"syscall"
	"unsafe"
)

// The constants of Linux that package syscall does not have. sysCloseRange is the number of the
// system call on every architecture (asm-generic/unistd.h).
const (
	sysCloseRange        = 436
	closeRangeCloexec    = 1 << 2
	prCapAmbient         = 47
	prCapAmbientClearAll = 4
	sigSetmask           = 2
)

// become turns this process into the worker. The order of the steps matters: see each.
func (o *Order) become(status int) error {
	// Everything above the listeners goes at the exec; the status descriptor is how the daemon knows
	// that it happened.
	_, _, errno := syscall.RawSyscall(sysCloseRange, uintptr(status), uintptr(^uint32(0)), closeRangeCloexec)
	if errno != 0 && errno != syscall.ENOSYS {
		return failure("close_range", errno)
	}
	if err := o.confine(); err != nil {
		return err
	}
	if err := defaultSignals(); err != nil {
		return err
	}
	o.Env = append(o.Env, "LISTEN_PID="+strconv.Itoa(syscall.Getpid()))
	return o.Exec()
}

// confine sets the control group, the limits and the capabilities, as the daemon's user: it may
// move a process between groups of the tree, and must before anything could be forked.
func (o *Order) confine() error {
	// Not by CLONE_INTO_CGROUP: where the unit restricts namespaces, clone3 is not there.
	if o.Cgroup != "" {
		if err := enter(o.Cgroup); err != nil {
			return &stepError{"enter control group", err}
		}
	}
	if o.NoFile > 0 {
		limit := syscall.Rlimit{Cur: o.NoFile, Max: o.NoFile}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return &stepError{"limit of open files " + strconv.FormatUint(o.NoFile, 10), err}
		}
	}
	// An ambient capability of the unit (CAP_NET_BIND_SERVICE) is not for workers.
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prCapAmbient, prCapAmbientClearAll, 0, 0, 0, 0)
	if errno == syscall.EINVAL {
		return nil
	}
	return failure("drop ambient capabilities", errno)
}

// enter moves this process into a control group.
func enter(dir string) error {
	path := dir + "/cgroup.procs"
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &stepError{"open " + path, err}
	}
	_, err = syscall.Write(fd, []byte("0"))
	_ = syscall.Close(fd)
	if err != nil {
		return &stepError{"write " + path, err}
	}
	return nil
}

// defaultSignals gives every signal that is ignored its default action, and clears the mask. A
// signal that is caught becomes default at an exec, but one that is ignored stays ignored
// (signal(7)): Python would never see the SIGINT that nohup or a background shell made the daemon
// ignore. os/signal knows neither 32 nor 33, which the C library keeps for its threads.
func defaultSignals() error {
	// The kernel's struct sigaction on 64-bit Linux: handler, flags, restorer (where there is one),
	// mask.
	type action [4]uint64
	const ignored, last, maskSize = 1, 64, 8
	for sig := uintptr(1); sig <= last; sig++ {
		var now, byDefault action
		_, _, errno := syscall.RawSyscall6(
			syscall.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), maskSize, 0, 0,
		)
		if errno == 0 && now[0] == ignored {
			_, _, errno = syscall.RawSyscall6(
				syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&byDefault)), 0, maskSize, 0, 0,
			)
		}
		if errno != 0 {
			return failure("default action of signal "+strconv.Itoa(int(sig)), errno)
		}
	}
	var none uint64
	_, _, errno := syscall.RawSyscall6(
		syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&none)), 0, maskSize, 0, 0,
	)
	return failure("clear the signal mask", errno)
}
