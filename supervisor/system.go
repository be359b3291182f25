package supervisor

import (
	"context"
	"math/rand/v2"

	"golang.org/x/sys/unix"

	"superctl/supervisor/cgroup"
	"superctl/supervisor/drainhook"
	"superctl/supervisor/worker"
)

// realSystem is the operating system itself.
func realSystem(groups *cgroup.Tree) system {
	return system{
		start: func(ctx context.Context, spec worker.Spec) (process, error) {
			return asProcess(worker.Start(ctx, spec))
		},
		adopt: func(ws workerState, pidfd int) (process, error) {
			return asProcess(worker.Adopt(ws.PID, ws.StartTime, ws.Tag, pidfd, groups))
		},
		output:  openOutput,
		run:     worker.Run,
		inode:   worker.Inode,
		end:     func(ws workerState) error { return endEarlier(ws, groups) },
		find:    worker.Find,
		sweep:   worker.EndMarked,
		strays:  func(running []worker.Running) error { return worker.EndStrays(groups, running) },
		keep:    startKeeper,
		measure: measureAll,
		memory:  memoryOf,
		alarm:   startAlarm,
		close:   func(fd int) { _ = unix.Close(fd) }, // it was for reading only
		write:   writeFile,
		sync:    syncDir,
		held:    drainhook.Held,
		chance:  rand.Float64,
	}
}

// asProcess returns a process that is nil when there is none: an interface with a nil pointer in it
// is not.
func asProcess(w *worker.Worker, err error) (process, error) {
	if err != nil {
		return nil, err
	}
	return w, nil
}

func openOutput(path string, user *worker.Credential) (output, error) {
	out, err := worker.OpenOutput(path, user)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func startKeeper(dir, mark string) (keeper, error) {
	k, err := worker.StartKeeper(dir, mark)
	if err != nil {
		return nil, err
	}
	return k, nil
}

func measureAll(list []process) []worker.Usage { return worker.Measure(measurable(list)) }

func memoryOf(list []process) []uint64 { return worker.Memory(measurable(list)) }

func measurable(list []process) []worker.Measured {
	workers := make([]worker.Measured, len(list))
	for i, w := range list {
		workers[i] = w
	}
	return workers
}
