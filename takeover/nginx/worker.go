package nginx

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"superctl/proc"
)

// reloadTime limits how long nginx needs to start its new workers.
const reloadTime = 30 * time.Second

// Worker is a worker process of nginx.
type Worker struct {
	PID   int
	start uint64 // in clock ticks since boot: the PID may be reused
}

// The titles that nginx gives its processes (ngx_setproctitle).
const (
	workerTitle = "nginx: worker process"
	endingTitle = "nginx: worker process is shutting down"
)

// workers returns the workers that run now.
func (n *Nginx) workers() (list []Worker, err error) {
	children, err := proc.Children(n.pid)
	if err != nil {
		return nil, fmt.Errorf("nginx (process %d): %w", n.pid, err)
	}
	for _, pid := range children {
		stat, err := proc.ReadStat(pid)
		if err == nil && strings.HasPrefix(title(pid), workerTitle) {
			list = append(list, Worker{pid, stat.Start})
		}
	}
	return list, nil
}

// Running reports whether the worker still runs.
func (w Worker) Running() bool {
	stat, err := proc.ReadStat(w.PID)
	return err == nil && stat.Start == w.start && !stat.Ended()
}

// serves reports whether the worker accepts new connections.
func (w Worker) serves() bool { return w.Running() && !strings.HasPrefix(title(w.PID), endingTitle) }

// AwaitEnd waits until the workers have ended.
func AwaitEnd(ctx context.Context, list []Worker) error {
	return await(ctx, func() bool { return !slices.ContainsFunc(list, Worker.Running) })
}

// title returns the title of a process, or "".
func title(pid int) string {
	args, err := proc.Args(pid)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Join(args, " "))
}

// await waits until something is true.
func await(ctx context.Context, is func() bool) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
