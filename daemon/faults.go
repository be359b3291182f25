//go:build faults

package daemon

import (
	"os"
	"path/filepath"
	"syscall"
)

// faults returns a function that the daemon calls at points where a test may crash it.
// SUPERCTL_FAULT is a directory: the daemon appends each point that it passes to the file `points`
// in it, and kills itself once at the point that the file `kill` names.
func faults() func(point string) {
	dir := os.Getenv("SUPERCTL_FAULT")
	if dir == "" {
		return nil
	}
	return func(point string) {
		if points, err := os.OpenFile(filepath.Join(dir, "points"), os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, _ = points.WriteString(point + "\n")
			_ = points.Close()
		}
		kill := filepath.Join(dir, "kill")
		if at, err := os.ReadFile(kill); err != nil || string(at) != point || os.Remove(kill) != nil {
			return
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
