package supervisor

import (
	"context"

	"go.uber.org/zap"
)

// WaitError is Resolve's answer at a start that has to wait: the server that the app replaces still
// serves, and a start would take its connections unproved. It is not a failure.
type WaitError struct {
	Reason string // what it waits for, as a clause: "gunicorn (pid 812) still serves 127.0.0.1:8000"
	// Over returns when the start can be tried again, or ctx ends.
	Over func(ctx context.Context)
}

func (e *WaitError) Error() string { return "waiting for the old server: " + e.Reason }

// wait tries the start again when that is possible. Until then, status says what it waits for.
func (su *startup) wait(w *WaitError) {
	ctx, cancel := context.WithCancel(context.Background())
	su.waiting, su.endWaiting = w.Error(), cancel
	su.log.Info("the start waits", zap.String("for", w.Reason))
	su.async(func() {
		w.Over(ctx)
		su.post(func() {
			if ctx.Err() == nil && su.owner.change == nil && !su.owner.stopping && !su.owner.leaving {
				su.again() // else the end of the change in progress decides
			}
		})
	})
}

// stopWaiting ends the wait, and reports whether there was one.
func (su *startup) stopWaiting() bool {
	if su.waiting == "" {
		return false
	}
	su.endWaiting()
	su.waiting, su.endWaiting = "", nil
	return true
}
