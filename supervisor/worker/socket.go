package worker

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Socket copies the socket with that inode out of one of the worker's processes. It needs the
// rights of ptrace on them, which a process of the same user has where no security module forbids
// it (pidfd_getfd(2)).
func (w *Worker) Socket(inode uint64) (int, error) {
	target := fmt.Sprintf("socket:[%d]", inode)
	for _, pid := range w.PIDs() {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if link, err := os.Readlink(dir + "/" + e.Name()); err != nil || link != target {
				continue
			}
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				return copyDescriptor(pid, fd)
			}
		}
	}
	return -1, fmt.Errorf("no process of worker %d has %s", w.pid, target)
}

func copyDescriptor(pid, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	copied, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("copy descriptor %d of process %d: %w", fd, pid, err)
	}
	unix.CloseOnExec(copied)
	return copied, nil
}
