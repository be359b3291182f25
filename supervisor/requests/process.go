package requests

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"superctl/proc"
)

// Running reports whether the process with that pid and start time runs. One that cannot be asked
// for is taken to run: its page then stays.
func Running(pid int, start uint64) bool {
	s, err := proc.ReadStat(pid)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return s.Start == start && !s.Ended()
}

// held reports whether a process may still write a file: a fork of the one that has ended, or one
// whose pid belongs to another namespace. What such a process counts later is counted. The kernel
// grants a write lease on a file only while no other open file description of it exists (fcntl(2),
// F_SETLEASE). Where the lease is not permitted, as for root without CAP_LEASE, the pid alone
// decides.
func held(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK)
	if err == nil {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
