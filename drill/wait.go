package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"superctl/api"
	"superctl/daemon/control"
	"superctl/supervisor/worker"
)

// lookEvery is how often the daemon is asked: it has no word for what workers of an earlier change do.
const lookEvery = 20 * time.Millisecond

// eventually asks for the status until it is as it should be. A daemon that does not answer may be about to.
func eventually(ctx context.Context, s site, ok func(*api.Status) bool) (api.Status, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		st, err := s.Status(ctx)
		var unreachable *control.UnreachableError
		switch {
		case ctx.Err() != nil:
			return st, context.Cause(ctx)
		case err != nil && !errors.As(err, &unreachable):
			return st, err
		case err == nil && ok(&st):
			return st, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return st, context.Cause(ctx)
		}
	}
}

// endSignals ask, hurry, and do not ask any more.
func endSignals() []unix.Signal { return []unix.Signal{unix.SIGTERM, unix.SIGTERM, unix.SIGKILL} }

// kill sends SIGKILL to a process that the status names, once the status has named it again after it was taken hold of: its pid cannot
// have become somebody else's.
func kill(ctx context.Context, s site, pidIn func(*api.Status) int) (pid int, at time.Time, err error) {
	st, err := s.Status(ctx)
	if err != nil {
		return 0, at, err
	}
	pid = pidIn(&st)
	w, err := worker.Open(pid)
	if err != nil {
		return pid, at, err
	}
	if st, err = s.Status(ctx); err != nil {
		return pid, at, err
	}
	if now := pidIn(&st); now != pid {
		return pid, at, fmt.Errorf("process %d was replaced by %d meanwhile", pid, now)
	}
	at = time.Now()
	if err := w.Signal(unix.SIGKILL); err != nil {
		return pid, at, err
	}
	select {
	case <-w.Done():
		return pid, at, nil
	case <-ctx.Done():
		return pid, at, context.Cause(ctx)
	}
}
