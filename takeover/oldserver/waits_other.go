//go:build !amd64

package oldserver

import "golang.org/x/sys/unix"

// waits reports whether a system call waits for events with its timeout in milliseconds as the
// fourth argument. The newer platforms have no epoll_wait.
func waits(call int64) bool { return call == unix.SYS_EPOLL_PWAIT }
