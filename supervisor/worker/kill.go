package worker

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"superctl/plain"
	"superctl/proc"
	"superctl/supervisor/cgroup"
)

// killLimit bounds the hunt for a worker's processes. A killed process may need a moment to give
// back its memory, and a fork bomb may make new ones meanwhile.
const killLimit = 10 * time.Second

// KillAll ends the worker and everything that it has started, and returns when nothing of it is
// left. It may be called after the end of the worker itself: then it ends what that left behind.
func (w *Worker) KillAll() error {
	defer w.letGo()
	_ = w.Signal(unix.SIGKILL)
	return errors.Join(cgroup.Kill(w.group), killAll(func(seen scan) []proc.Stat { return seen.relatives(w.root()) }))
}

// KillTagged ends the remaining processes of a worker whose own process is gone.
func KillTagged(tag string) error { return killFamily(root{pid: -1, tag: tag}) }

// EndMarked ends every process that carries the mark and does not belong to a worker that is kept:
// what a daemon had started, and was killed before it could write it down.
func EndMarked(mark string, kept func(tag string) bool) error {
	seen, err := lookAround()
	if err != nil {
		return fmt.Errorf("look for processes of an earlier daemon: %w", err)
	}
	ended := make(map[string]bool)
	var errs []error
	for _, s := range seen.all {
		tag, ok := seen.tags[s.PID]
		if !ok || !strings.HasPrefix(tag, mark+"-") || kept(tag) || ended[tag] || s.PID == os.Getpid() {
			continue
		}
		ended[tag] = true
		errs = append(errs, killFamily(root{pid: -1, tag: tag}))
	}
	return errors.Join(errs...)
}

func killFamily(of root) error {
	return killAll(func(seen scan) []proc.Stat { return seen.relatives(of) })
}

// killAll kills those of all processes that are condemned. It looks again after each round until it
// finds none: a process that forks while it is being killed leaves a child that the round has not
// seen.
func killAll(condemned func(scan) []proc.Stat) error {
	deadline := time.Now().Add(killLimit)
	for {
		seen, err := lookAround()
		if err != nil {
			return fmt.Errorf("look for the worker's processes: %w", err)
		}
		left := condemned(seen)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s not die, the first is %d", plain.Count(len(left), "process does", "processes do"), left[0].PID)
		}
		var fds []unix.PollFd
		for _, s := range left {
			if fd, err := signalOne(s, unix.SIGKILL); err == nil {
				fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
		}
		await(fds, deadline)
	}
}

// signalFamily signals once what there is of a worker's processes, and returns what tells when they
// have ended. Who has gone meanwhile has missed nothing.
func signalFamily(of root, sig syscall.Signal) (fds []unix.PollFd) {
	list, err := family(of)
	if err != nil {
		return nil // they are killed a moment later
	}
	for _, s := range list {
		if fd, err := signalOne(s, sig); err == nil {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	return fds
}

// signalOne signals a process that was seen a moment ago, through a pidfd that is known to be that
// process's: between the look and the signal its pid may have been given to a stranger.
func signalOne(s proc.Stat, sig syscall.Signal) (pidfd int, err error) {
	fd := -1
	err = withSpare(func() (err error) {
		if fd < 0 {
			fd, err = unix.PidfdOpen(s.PID, 0)
		}
		if err != nil {
			return err
		}
		start, err := startTime(s.PID)
		if err == nil && start != s.Start {
			return ErrGone
		}
		return err
	})
	if err != nil && fd >= 0 {
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return -1, err
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// await waits until all are dead, and closes the descriptors.
func await(fds []unix.PollFd, deadline time.Time) {
	for _, fd := range fds {
		one := []unix.PollFd{fd}
		for {
			_, err := unix.Poll(one, max(0, int(time.Until(deadline).Milliseconds())))
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		_ = unix.Close(int(fd.Fd))
	}
}
