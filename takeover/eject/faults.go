//go:build faults

package eject

import (
	"os"
	"syscall"
)

// fault dies at the point that SUPERCTL_EJECT_FAULT names. With "SIGNAL point", such as "TERM after
// turn", it sends this process that signal instead.
func fault(point string) {
	switch os.Getenv("SUPERCTL_EJECT_FAULT") {
	case point:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:forbidigo // this process's own
		select {}                                      // the signal is on its way
	case "TERM " + point:
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM) //nolint:forbidigo // this process's own
	case "HUP " + point:
		_ = syscall.Kill(os.Getpid(), syscall.SIGHUP) //nolint:forbidigo // this process's own
	}
}
