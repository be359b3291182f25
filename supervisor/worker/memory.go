package worker

import (
	"errors"
	"io/fs"

	"superctl/proc"
	"superctl/supervisor/cgroup"
)

// Memory returns how much memory would be free without each worker and everything that it has
// started, in bytes. 0 = unknown.
//
// It is what the worker's control group is charged for, without the page cache that the kernel
// drops first: the same account that memory_max limits, and it has processes that have left the
// worker, and the kernel's own memory. Where the group has no memory controller, it is the sum of
// the proportional set sizes (PSS). A sum of resident sizes would count what a master shares with
// its forked children once for each of them.
func Memory(workers []Measured) []uint64 {
	list := make([]uint64, len(workers))
	var unlimited []Measured
	var at []int
	for i, w := range workers {
		if n, ok := cgroup.WorkingSet(w.Cgroup()); ok {
			list[i] = n
			continue
		}
		unlimited, at = append(unlimited, w), append(at, i)
	}
	if len(unlimited) == 0 {
		return list
	}
	all, err := processes()
	if err != nil {
		return list
	}
	for i, members := range families(all, unlimited) {
		list[at[i]] = sharedOut(members)
	}
	return list
}

// sharedOut returns the sum of the proportional set sizes, or 0 if that of a process cannot be read.
func sharedOut(members []proc.Stat) (sum uint64) {
	for _, s := range members {
		n, err := proc.ProportionalSize(s.PID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0
		}
		sum += n
	}
	return sum
}
