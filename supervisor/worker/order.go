package worker

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/supervisor/worker/starter"
)

// seal puts an order into a file in memory, which the starter inherits: not into its arguments,
// which everybody can read, nor into its environment, where a variable has at most 128 KB.
func seal(o *starter.Order) (fd int, err error) {
	data := o.Encode()
	fd, err = unix.MemfdCreate("superctl-order", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	for at := 0; at < len(data); {
		n, err := unix.Pwrite(fd, data[at:], int64(at)) // the offset, which the starter shares, stays at the beginning
		if err != nil && !errors.Is(err, unix.EINTR) {
			return -1, errors.Join(fmt.Errorf("write to a memfd: %w", err), unix.Close(fd))
		}
		at += max(n, 0)
	}
	return fd, nil
}

func nameOf(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name
}
