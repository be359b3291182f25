// Package systemd talks to systemd for the daemon: readiness, the descriptor store, the watchdog,
// and whether a SIGTERM means a stop or a restart. Without systemd it does nothing.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Notify sends state lines of sd_notify(3), such as "READY=1".
func Notify(lines string) error { return send(lines, nil) }

// Barrier waits until systemd has processed all earlier notifications, or until ctx ends
// (sd_notify_barrier(3)): systemd closes its end of a pipe when it reaches the barrier.
func Barrier(ctx context.Context) error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	reader := os.NewFile(uintptr(pipe[0]), "barrier")
	defer reader.Close()
	err := send("BARRIER=1", []int{pipe[1]})
	if err := errors.Join(err, unix.Close(pipe[1])); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := reader.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := reader.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("systemd did not answer in time")
	}
	return nil
}

// send sends one datagram with descriptors to the socket that NOTIFY_SOCKET names. go-systemd's
// SdNotify cannot send descriptors.
func send(lines string, fds []int) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer unix.Close(fd)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	// A leading @ denotes the abstract namespace, also for SockaddrUnix.
	if err := unix.Sendmsg(fd, []byte(lines), rights, &unix.SockaddrUnix{Name: path}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// WatchdogInterval returns how often systemd expects WATCHDOG=1: half of the time after which it
// kills the daemon (sd_watchdog_enabled(3)), or 0 for never. It ignores WATCHDOG_PID, because after
// an upgrade that is the PID of the first daemon.
func WatchdogInterval() time.Duration {
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 || os.Getenv("NOTIFY_SOCKET") == "" {
		return 0
	}
	return time.Duration(us) * time.Microsecond / 2
}
