package proc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitEnd returns when the process with that PID and start time (Stat.Start) has ended, or with the
// cause of the end of ctx. The process may belong to any user. Where /proc hides processes of others
// (hidepid), it returns at once.
func AwaitEnd(ctx context.Context, pid int, start uint64) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd") // non-blocking, so that the runtime's poller waits for it
	defer file.Close()
	stat, err := ReadStat(pid)
	if errors.Is(err, fs.ErrNotExist) || err == nil && stat.Start != start {
		return nil // the PID may belong to another process now
	}
	if err != nil {
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool { return ended(int(fd)) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// ended reports whether the process of a pidfd has ended (pidfd_open(2)).
func ended(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}
