package supervisor

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
)

// shortages is what workers are running out of, for status. It reads files of control groups: never
// for the owner.
func (vw *view) shortages(st *Status, figures []measurement) (list []Trouble) {
	if tasks, ok := vw.opt.Cgroups.Tasks(); ok && tasks.Now >= tasks.Max/10*9 {
		list = append(list, Trouble{Of: "workers", Since: time.Now(), Why: crowded(tasks)})
	}
	if why := fewDescriptors(); why != "" {
		list = append(list, Trouble{Of: "daemon", Since: time.Now(), Why: why})
	}
	for i, m := range figures {
		for j, w := range m.workers {
			if w == nil {
				continue
			}
			ws := &st.Generations[i].Workers[j]
			if oom := cgroup.OutOfMemory(w.Cgroup()); oom.Kills > 0 {
				why := fmt.Sprintf(
					"the kernel has killed %d of its processes since it was started: %s", oom.Kills, shortOfMemory(oom),
				)
				list = append(list, Trouble{
					Of: fmt.Sprintf("worker %s.%d", ws.Process, ws.Instance), Since: time.Now(), Why: why,
				})
			}
		}
	}
	return list
}

func crowded(t cgroup.Tasks) string {
	return fmt.Sprintf("%d of the %d processes and threads that all workers may have together (TasksMax= of the unit, less what superctl needs) exist, "+
		"%d of them in %s: a worker at the limit cannot start another", t.Now, t.Max, t.MostNow, t.Most)
}

// fewDescriptors reports that this process has nearly all the files open that it may have; "" when
// it has not.
func fewDescriptors() string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return ""
	}
	open, err := proc.OpenFiles()
	switch {
	case noDescriptors(err):
		return outOfDescriptors(limit.Cur, limit.Cur)
	case err != nil:
		return ""
	}
	return outOfDescriptors(uint64(open), limit.Cur)
}

// startTakes is how many descriptors the start of a worker takes at the most, for a moment.
const startTakes = 16

func outOfDescriptors(open, limit uint64) string {
	if open+startTakes <= limit && open <= limit/10*9 {
		return ""
	}
	return fmt.Sprintf(
		"it has %d of the %d files open that its limit allows, and needs more to start a worker: raise LimitNOFILE= of the unit",
		open, limit,
	)
}

// noDescriptors reports whether an error says that this process, or the machine, can open no more
// files: then it says nothing about what was to be opened.
func noDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func shortOfMemory(o cgroup.OOM) string {
	if o.Limit {
		return "it was at its memory_max"
	}
	return "the machine, or the unit, was out of memory"
}

// ending is how a worker ended, and why when the kernel ended it for want of memory.
func ending(exit worker.Exit, oom cgroup.OOM) string {
	if exit.Signal != syscall.SIGKILL || oom.Kills == 0 {
		return exit.String()
	}
	return exit.String() + " by the kernel: " + shortOfMemory(oom)
}
