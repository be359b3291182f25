package worker

import (
	"fmt"

	"superctl/proc"

	"golang.org/x/sys/unix"
)

// Socket copies the socket with that inode out of one of the worker's processes. It needs the
// rights of ptrace on them, which a process of the same user has where no security module forbids
// it (pidfd_getfd(2)).
func (w *Worker) Socket(inode uint64) (int, error) {
	for _, pid := range w.PIDs() {
		open, _ := proc.Descriptors(pid) // fails if the process has ended
		for _, d := range open {
			if at, ok := d.Socket(); ok && at == inode {
				return copyDescriptor(pid, d.FD)
			}
		}
	}
	return -1, fmt.Errorf("no process of worker %d has socket %d", w.pid, inode)
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
