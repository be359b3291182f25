package worker

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// spare are descriptors that are kept for the hunt for a worker's processes: when this process can
// open no more files, what a worker left behind must be found all the same. It would go on
// accepting connections.
var spare struct { //nolint:gochecknoglobals // a process has one table of descriptors
	sync.Mutex
	fds []int
}

// spares is how many are kept: a look at /proc takes two at a time, a signal two.
const spares = 4

// ReserveDescriptors opens the spare descriptors.
func ReserveDescriptors() error {
	spare.Lock()
	defer spare.Unlock()
	for len(spare.fds) < spares {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("reserve descriptors: %w", err)
		}
		spare.fds = append(spare.fds, fd)
	}
	return nil
}

// closeSpare gives the spare descriptors up.
func closeSpare() {
	spare.Lock()
	defer spare.Unlock()
	for _, fd := range spare.fds {
		_ = unix.Close(fd)
	}
	spare.fds = nil
}

// withSpare runs f, and once more without the spare descriptors when none was left. What it can it
// reserves again.
func withSpare(f func() error) error {
	err := f()
	if !noDescriptors(err) {
		return err
	}
	closeSpare()
	err = f()
	_ = ReserveDescriptors() // f may have kept one
	return err
}

func noDescriptors(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }
