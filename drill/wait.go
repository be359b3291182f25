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

// pollInterval is how often the status is requested: the daemon has no event for what workers of an
// earlier change do.
const pollInterval = 20 * time.Millisecond

// eventually polls the status until it is ok. A daemon that does not answer may be about to start.
func eventually(ctx context.Context, s site, ok func(*api.Status) bool) (api.Status, error) {
	tick := time.NewTicker(pollInterval)
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

// endSignals returns the signals that stop a daemon: stop, stop at once, kill.
func endSignals() []unix.Signal { return []unix.Signal{unix.SIGTERM, unix.SIGTERM, unix.SIGKILL} }

// kill sends SIGKILL to a process that the status names. It opens a pidfd and checks the status
// again first, so that the pid cannot belong to another process.
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
