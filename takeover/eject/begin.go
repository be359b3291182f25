package eject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/daemon/systemd"
	"superctl/proc"
	"superctl/takeover/running"
)

// lockDir has the locks of ejects. Only root can write there.
const lockDir = "/run/superctl-eject"

// Lock keeps other ejects of an app away until it is closed, or this process and the one that stops
// superctl have ended.
type Lock struct{ file *os.File }

// Begin waits until no other eject of the app runs, and returns superctl's daemon. It has no PID if
// superctl does not run. A daemon that an earlier run has left frozen goes on. serves asks the
// daemon whether it serves.
func Begin(ctx context.Context, unit string, serves func(context.Context) error, say func(string)) (
	l *Lock, daemon running.Process, err error,
) {
	if l, err = lock(ctx, unit, say); err != nil {
		return nil, daemon, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	pid, err := await(ctx, unit, say)
	if pid == 0 || err != nil {
		return l, daemon, err
	}
	stat, err := proc.ReadStat(pid)
	if err != nil {
		return l, daemon, fmt.Errorf("superctl's daemon: %w", err)
	}
	daemon = running.Process{PID: pid, Start: stat.Start}
	if stat.State == stopped {
		if err := wake(daemon); err != nil {
			return l, daemon, err
		}
	}
	return l, daemon, answers(ctx, unit, serves)
}

// stopped is the state of a process that SIGSTOP has frozen (proc_pid_stat(5)).
const stopped = 'T'

func wake(p running.Process) error {
	pidfd, err := p.Open()
	if err != nil {
		return fmt.Errorf("superctl's daemon: %w", err)
	}
	return errors.Join(unix.PidfdSendSignal(pidfd, unix.SIGCONT, nil, 0), unix.Close(pidfd))
}

const (
	// startTime limits how long a daemon that was killed needs until the next one answers.
	startTime = time.Minute
	lookAgain = 200 * time.Millisecond
)

// answers waits until the daemon answers: a restarted one first adopts its workers.
func answers(ctx context.Context, unit string, serves func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := serves(ctx)
		if err == nil {
			return nil
		}
		if pause(ctx, lookAgain) != nil {
			return fmt.Errorf("%s runs, but does not serve: %w: see journalctl -u %s", unit, err, unit)
		}
	}
}

// lock takes the lock. A process of an earlier run may have it, which stops superctl. When superctl
// has ended, it only passes requests of kept connections on, and is not waited for.
func lock(ctx context.Context, unit string, say func(string)) (*Lock, error) {
	if err := os.MkdirAll(lockDir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(lockDir, strings.TrimSuffix(unit, ".service")), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &Lock{f}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		service, err := systemd.FindService(ctx, unit)
		if err != nil || service == nil || !service.Wanted() {
			return &Lock{f}, err
		}
		if first {
			say("wait for another eject, which is stopping superctl")
		}
		if err := pause(ctx, lookAgain); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// Close ends the lock.
func (l *Lock) Close() error { return l.file.Close() }

// lend keeps the lock until the processes that this one starts from now on have ended, too.
func (l *Lock) lend() error {
	if _, err := unix.FcntlInt(l.file.Fd(), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("lock %s: %w", l.file.Name(), err)
	}
	return nil
}

// await returns the PID of the unit's main process, or 0 if the unit does not run. One that systemd
// is about to start again is waited for, and so is one that is being stopped.
func await(ctx context.Context, unit string, say func(string)) (pid int, err error) {
	for first := true; ; first = false {
		service, err := systemd.FindService(ctx, unit)
		if err != nil || service == nil || !service.Wanted() {
			return 0, err
		}
		if pid := service.MainPID(); pid != 0 {
			return pid, nil
		}
		if first {
			say("wait for " + unit + ", which starts or stops")
		}
		if err := pause(ctx, lookAgain); err != nil {
			return 0, err
		}
	}
}
