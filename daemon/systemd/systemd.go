// Package systemd is what the daemon says to systemd and asks of it: readiness, the descriptor store, the watchdog, and
// whether a SIGTERM means a stop or a restart. Without systemd all of it does nothing.
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

// Notify sends lines of sd_notify(3), such as "READY=1".
func Notify(lines string) error { return send(lines, nil) }

// Barrier returns when systemd has dealt with everything that was sent before, or when ctx ends (sd_notify_barrier(3)): the
// pipe's other end is closed by systemd when it gets there.
func Barrier(ctx context.Context) error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	reader := os.NewFile(uintptr(pipe[0]), "barrier")
	defer reader.Close() //nolint:errcheck // for reading only
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
		return errors.New("systemd does not answer")
	}
	return nil
}

// send sends one datagram to the socket that NOTIFY_SOCKET names, with descriptors. It is not go-systemd's SdNotify, which
// cannot carry any.
func send(lines string, fds []int) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is left to write
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	// A name that begins with @ is in the abstract namespace; the library of the kernel's calls knows that notation too.
	if err := unix.Sendmsg(fd, []byte(lines), rights, &unix.SockaddrUnix{Name: path}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// WatchdogInterval is how often systemd wants to hear WATCHDOG=1, 0 for never: half of the time after which it would kill
// the daemon (sd_watchdog_enabled(3)). WATCHDOG_PID is not looked at, since after an upgrade it is the first daemon's.
func WatchdogInterval() time.Duration {
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 || os.Getenv("NOTIFY_SOCKET") == "" {
		return 0
	}
	return time.Duration(us) * time.Microsecond / 2
}
