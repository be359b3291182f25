package worker

import (
	"errors"
	"io/fs"
	"syscall"

	"superctl/proc"
)

// Handles reports whether the main process catches or ignores a signal; the default action of most
// ends it. A process that is gone handles everything: Signal is no error then either.
func (w *Worker) Handles(sig syscall.Signal) (bool, error) {
	st, err := proc.ReadStatus(w.pid)
	if errors.Is(err, fs.ErrNotExist) || !w.alive() { // a PID that was reused in between says nothing
		return true, nil
	}
	return err == nil && st.Handles(sig), err
}

func (w *Worker) alive() bool {
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}
