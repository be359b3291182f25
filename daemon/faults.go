//go:build faults

package daemon

import (
	"os"
	"path/filepath"
	"syscall"
)

// faults has the daemon pass points at which a test may end it, as a crash would. SUPERCTL_FAULT is
// a directory: every point that is passed is a line of `points` in it, and the daemon kills itself
// at the one that `kill` names, once.
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
