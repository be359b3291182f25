package worker

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// Handles reports whether the main process catches or ignores a signal; the default action of most
// ends it. The kernel has the masks of both in proc_pid_status(5). A process that is gone handles
// everything: Signal is no error then either.
func (w *Worker) Handles(sig syscall.Signal) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
	if err != nil || !w.alive() { // a PID that was reused in between says nothing
		return true, nil // it is gone
	}
	var handled uint64
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "SigCgt" && string(name) != "SigIgn" {
			continue
		}
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil {
			return false, fmt.Errorf("/proc/%d/status: %w", w.pid, err)
		}
		handled |= mask
	}
	return handled&(1<<(uint(sig)-1)) != 0, nil
}

func (w *Worker) alive() bool {
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}
