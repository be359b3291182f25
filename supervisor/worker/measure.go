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
	k := newKinship(all, workers)
	members := make([][]proc.Stat, len(workers))
	for i := range all {
		if s := &all[i]; !s.Ended() {
			if of := k.owner(s); of != noWorker {
				members[of] = append(members[of], *s)
			}
		}
	}
	return members
}

// kinship knows which worker each process belongs to. A worker is its index.
type kinship struct {
	byPID  map[int]int    // workers by their pid
	byTag  map[string]int // and by their tag
	all    map[int]*proc.Stat
	owners map[int]int // of the processes that were asked for already
}

// noWorker is the owner of a process of no worker.
const noWorker = -1

func newKinship(all []proc.Stat, workers []Measured) *kinship {
	k := &kinship{
		byPID: make(map[int]int, len(workers)), byTag: make(map[string]int, len(workers)),
		all: make(map[int]*proc.Stat, len(all)), owners: make(map[int]int, len(all)),
	}
	for i, w := range workers {
		k.byPID[w.PID()], k.byTag[w.Tag()] = i, i
	}
	for i := range all {
		k.all[all[i].PID] = &all[i]
	}
	return k
}

// owner returns the worker that a process belongs to, or noWorker.
func (k *kinship) owner(s *proc.Stat) int {
	if i, ok := k.owners[s.PID]; ok {
		return i
	}
	k.owners[s.PID] = noWorker // the parents of a process that has moved while the list was read may form a circle
	k.owners[s.PID] = k.find(s)
	return k.owners[s.PID]
}

func (k *kinship) find(s *proc.Stat) int {
	for _, pid := range []int{s.PID, s.Group} {
		if i, ok := k.byPID[pid]; ok {
			return i
		}
	}
	if s.PID == os.Getpid() || s.KernelThread() {
		return noWorker
	}
	if parent := k.all[s.Parent]; parent != nil {
		if i := k.owner(parent); i != noWorker {
			return i
		}
	}
	if tag, tagged, err := tagOf(s.PID); err == nil && tagged {
		if i, ok := k.byTag[tag]; ok {
			return i
		}
	}
	return noWorker
}
