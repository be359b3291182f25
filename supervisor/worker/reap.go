package worker

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"superctl/proc"

	"golang.org/x/sys/unix"
)

// children are the processes that this package has started and waits for itself. The lock is held
// around a fork, so that the reaper never sees a child that is not in it yet.
var children = struct { //nolint:gochecknoglobals // a process has one set of children
	sync.Mutex
	own map[int]kind
}{own: make(map[int]kind)}

// kind is what a child of this process is.
type kind int

const (
	ofApp   kind = iota // a worker or a command: what it starts is the app's
	ofHouse             // superctl's own, or started before superctl was
)

func fork(what kind, path string, args []string, attr *syscall.ProcAttr) (int, error) {
	children.Lock()
	defer children.Unlock()
	pid, err := syscall.ForkExec(path, args, attr)
	if err == nil {
		children.own[pid] = what
	}
	return pid, err
}

func forget(pid int) {
	children.Lock()
	defer children.Unlock()
	delete(children.own, pid)
}

// KnowChildren notes the children that this process has already, which are none of the app's: a
// shell that has executed the daemon had started them, or systemd (PAMName=).
func KnowChildren() error {
	children.Lock()
	defer children.Unlock()
	all, err := processes()
	if err != nil {
		return err
	}
	for _, s := range all {
		if _, own := children.own[s.PID]; !own && s.Parent == os.Getpid() {
			children.own[s.PID] = ofHouse
		}
	}
	return nil
}

// AdoptOrphans makes this process the parent of what its descendants leave behind
// (PR_SET_CHILD_SUBREAPER), so that EndOrphans finds it even when it carries no mark: for a daemon
// that has no control groups. ReapOrphans must run from then on.
func AdoptOrphans() error {
	if err := KnowChildren(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	return nil
}

// EndOrphans ends what was left to this process by workers that are gone, and all that descends
// from it.
func EndOrphans() error {
	return killAll(func(seen scan) []proc.Stat { return seen.orphans(math.MaxUint64) })
}

// WithoutReaping runs f while nothing is reaped and no worker is started: f starts a child by other
// means, and waits for it.
func WithoutReaping(f func() error) error {
	children.Lock()
	defer children.Unlock()
	return f()
}

// ReapOrphans takes the exits of processes that became our children because their parents died,
// until ctx ends: as pid 1 of a container no other process does. Of a process that this package has
// started it leaves the exit alone.
func ReapOrphans(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	for {
		select {
		case <-died:
			reap()
		case <-ctx.Done():
			return
		}
	}
}

func reap() {
	children.Lock()
	defer children.Unlock()
	all, err := processes()
	if err != nil {
		return
	}
	for _, s := range all {
		if _, own := children.own[s.PID]; own || s.Parent != os.Getpid() || s.State != 'Z' {
			continue
		}
		var status unix.WaitStatus
		_, _ = unix.Wait4(s.PID, &status, unix.WNOHANG, nil)
	}
}
