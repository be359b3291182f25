package worker

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"superctl/supervisor/worker/starter"
)

// StartDaemon starts a superctl daemon whose output goes to a file. What a daemon has started
// outlives it, so unlike Run this ends nothing but what it is told to; who has called AdoptOrphans
// gets what the daemon leaves behind, and EndOrphans ends that.
func StartDaemon(ctx context.Context, c Command, output *os.File) (*Worker, error) {
	tag, err := newTag(c.Mark)
	if err != nil {
		return nil, err
	}
	o := starter.Order{Path: c.Args[0], Args: c.Args, Env: c.Env, Dir: c.Dir}
	raw, err := output.SyscallConn()
	if err != nil {
		return nil, err
	}
	var w *Worker
	if gone := raw.Control(func(fd uintptr) { w, err = start(ctx, &o, int(fd), int(fd), nil, tag) }); gone != nil {
		return nil, gone
	}
	if err == nil {
		w.letGo()
	}
	return w, err
}

// Open takes hold of a process that runs, so that it can be signalled and its end be seen. Whether
// it is the one that is meant, the caller has to find out afterwards: from then on the pid cannot
// be given to another one unseen.
func Open(pid int) (*Worker, error) {
	pidfd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	w, err := newWorker(pid, pidfd, "", "", false)
	if err == nil {
		w.letGo()
	}
	return w, err
}
