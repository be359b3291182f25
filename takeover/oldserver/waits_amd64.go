package oldserver

import "golang.org/x/sys/unix"

// waits reports whether a system call waits for events with its timeout in milliseconds as the
// fourth argument.
func waits(call int64) bool { return call == unix.SYS_EPOLL_WAIT || call == unix.SYS_EPOLL_PWAIT }
