package oldserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/takeover/running"
)

// process is a process of the old server. The pidfd cannot come to mean another process.
type process struct {
	pid, pidfd int
}

// processes opens all processes of the server; the master is the first. It is empty if the server
// has ended.
func processes(s *running.Server) (list []process, err error) {
	pids, err := s.PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		p, err := openProcess(pid)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, closeAll(list))
		}
		list = append(list, p)
	}
	if !s.Running() { // the pid of the master may be another's by now
		return nil, closeAll(list)
	}
	return list, nil
}

func openProcess(pid int) (process, error) {
	stat, err := proc.ReadStat(pid)
	if err != nil {
		return process{}, err
	}
	fd, err := running.Process{PID: pid, Start: stat.Start}.Open()
	return process{pid, fd}, err
}

func closeAll(list []process) (err error) {
	for _, p := range list {
		err = errors.Join(err, unix.Close(p.pidfd))
	}
	return err
}

// signal sends a signal; a process that has ended is no error.
func (p process) signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %v to process %d: %w", sig, p.pid, err)
	}
	return nil
}

// stop stops a process (SIGSTOP), and returns when it stands still: the signal alone only requests
// it. ended is true if the process has ended instead.
func (p process) stop(ctx context.Context) (ended bool, err error) {
	if err := p.signal(unix.SIGSTOP); err != nil {
		return false, err
	}
	// Only a parent is told that a process has stopped. It takes microseconds, unless the process is
	// inside the kernel.
	wait := 50 * time.Microsecond
	for {
		stat, err := proc.ReadStat(p.pid)
		if errors.Is(err, fs.ErrNotExist) || err == nil && stat.Ended() {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if stat.State == 'T' || stat.State == 't' {
			return false, nil
		}
		if err := pause(ctx, wait); err != nil {
			return false, fmt.Errorf("process %d does not stop: %w", p.pid, err)
		}
		wait = min(2*wait, 10*time.Millisecond)
	}
}

// pause waits for d, or returns the cause of the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await waits until all processes have ended, and returns those that have not when ctx ends.
func await(ctx context.Context, list []process) (left []process) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return list
	}
	defer func() { _ = unix.Close(wake) }()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(wake, []byte{1, 1, 1, 1, 1, 1, 1, 1})
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	for i, p := range list {
		for {
			fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return list[i:]
			}
			if fds[0].Revents != 0 {
				break
			}
			if fds[1].Revents != 0 {
				left = append(left, p)
				break
			}
		}
	}
	return left
}
