//go:build faults

package cli

import (
	"os"
	"sync"
	"syscall"
)

// faults kills the daemon, as a crash would, when it reaches the point that SUPERCTL_FAULT names: "kill:switch: before cutover".
func faults() func(point string) {
	at := os.Getenv("SUPERCTL_FAULT")
	var once sync.Once
	return func(point string) {
		if at == "kill:"+point {
			once.Do(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
			select {} // the signal is on its way
		}
	}
}
