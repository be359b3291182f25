package worker

import (
	"cmp"
	"os"
	"time"

	"superctl/proc"
	"superctl/supervisor/cgroup"
)

// Measured is a worker whose use of the machine is asked for; *Worker is one.
type Measured interface {
	PID() int
	Tag() string
	Cgroup() string
}

// Usage is what a worker uses, with all that it has started.
type Usage struct {
	PIDs   []int
	Memory uint64         // resident, in bytes; with a memory controller, what that counts
	CPU    *time.Duration // since it was started; nil without a control group
}

// Measure measures workers by one look at /proc for all of them. A look for each would read every
// process of the machine, with its environment, once for each worker.
func Measure(workers []Measured) []Usage {
	list := make([]Usage, len(workers))
	all, err := processes()
	if err != nil {
		all = nil // the control groups know their memory all the same
	}
	page := uint64(os.Getpagesize())
	for i, members := range families(all, workers) {
		for _, s := range members {
			list[i].PIDs = append(list[i].PIDs, s.PID)
			list[i].Memory += s.RSS * page
		}
	}
	for i, w := range workers {
		u, ok := cgroup.ReadUsage(w.Cgroup())
		if !ok {
			continue
		}
		list[i].Memory = cmp.Or(u.Memory, list[i].Memory)
		list[i].CPU = &u.CPU
	}
	return list
}

// families sorts the processes that belong to each worker, as family does for one: by process
// group, by descent, and by the tag in the environment, which is read only of processes that the
// other two do not find.
func families(all []proc.Stat, workers []Measured) [][]proc.Stat {
	const nobody = -1
	byPID, byTag := make(map[int]int, len(workers)), make(map[string]int, len(workers))
	for i, w := range workers {
		byPID[w.PID()], byTag[w.Tag()] = i, i
	}
	byID := make(map[int]*proc.Stat, len(all))
	for i := range all {
		byID[all[i].PID] = &all[i]
	}
	owners := make(map[int]int, len(all))
	var owner func(s *proc.Stat) int
	owner = func(s *proc.Stat) int {
		if i, ok := owners[s.PID]; ok {
			return i
		}
		owners[s.PID] = nobody // the parents of a process that has moved while the list was read may form a circle
		found, ok := byPID[s.PID]
		if !ok {
			found, ok = byPID[s.Group]
		}
		if parent := byID[s.Parent]; !ok && parent != nil && s.PID != os.Getpid() {
			found = owner(parent)
			ok = found != nobody
		}
		if !ok && s.PID != os.Getpid() {
			if tag, tagged, err := tagOf(s.PID); err == nil && tagged {
				found, ok = byTag[tag]
			}
		}
		if !ok {
			found = nobody
		}
		owners[s.PID] = found
		return found
	}
	members := make([][]proc.Stat, len(workers))
	for i := range all {
		if s := &all[i]; !s.Ended() {
			if of := owner(s); of != nobody {
				members[of] = append(members[of], *s)
			}
		}
	}
	return members
}
