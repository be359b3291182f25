package supervisor

import (
	"fmt"
	"syscall"
	"time"

	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
)

// shortages is what workers are running out of, for status. It reads files of control groups: never for the owner.
func (s *Supervisor) shortages(st *Status, figures []measurement) (list []Trouble) {
	if tasks, ok := s.opt.Cgroups.Tasks(); ok && tasks.Now >= tasks.Max/10*9 {
		list = append(list, Trouble{Of: "workers", Since: time.Now(), Why: crowded(tasks)})
	}
	for i, m := range figures {
		for j, w := range m.workers {
			if w == nil {
				continue
			}
			ws := &st.Generations[i].Workers[j]
			if oom := cgroup.OutOfMemory(w.Cgroup()); oom.Kills > 0 {
				why := fmt.Sprintf("the kernel has killed %d of its processes since it was started: %s", oom.Kills, shortOfMemory(oom))
				list = append(list, Trouble{Of: fmt.Sprintf("worker %s.%d", ws.Process, ws.Instance), Since: time.Now(), Why: why})
			}
		}
	}
	return list
}

func crowded(t cgroup.Tasks) string {
	return fmt.Sprintf("%d of the %d processes and threads that all workers may have together (TasksMax= of the unit, less what superctl needs) exist, "+
		"%d of them in %s: a worker at the limit cannot start another", t.Now, t.Max, t.MostNow, t.Most)
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
