package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killLimit bounds the wait for killed processes: one that is writing to a hanging disk cannot die.
const killLimit = 10 * time.Second

// Kill kills every process of a group at once, and returns when the group is empty. Processes that
// fork meanwhile die too: the kernel kills their children as well (cgroup.kill, Linux 5.14). On an
// older kernel it does nothing.
func Kill(dir string) error {
	if dir == "" {
		return nil
	}
	err := write(dir, "cgroup.kill", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the group is gone, or the kernel is older
	}
	if err != nil {
		return fmt.Errorf("kill control group: %w", err)
	}
	return awaitEmpty(dir, time.Now().Add(killLimit))
}

// awaitEmpty waits until a group has no processes. The kernel then changes its cgroup.events, which
// poll reports as POLLPRI.
func awaitEmpty(dir string, deadline time.Time) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 256)
	for {
		n, err := f.ReadAt(buf, 0)
		if n == 0 && err != nil {
			return nil // ENODEV: it was removed meanwhile
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("processes in %s are still alive %s after SIGKILL", dir, killLimit)
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
