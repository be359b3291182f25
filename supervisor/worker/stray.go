package worker

import (
	"fmt"
	"math"
	"os"

	"superctl/proc"
	"superctl/supervisor/cgroup"
)

// Running is a worker that runs, as EndStrays has to know it.
type Running struct {
	Start  uint64 // clock ticks since boot
	Cgroup string // directory of its control group; "" = none
}

// EndStrays ends processes of the app which no worker that runs can have started: those that a
// worker left behind and that carry no mark, have another parent and have moved to another control
// group, which a process of the daemon's own user may do. running must be complete; commands that
// run, such as hooks, EndStrays knows.
//
// What tells a stray is nothing that a process can change about itself: that it was started before
// the worker whose control group it is in, or is in a group of the tree that is no worker's.
// Without control groups, when orphans become children of the daemon (AdoptOrphans), it is one that
// was started before all that runs. A process that is in doubt is spared.
func EndStrays(groups *cgroup.Tree, running []Running) error {
	if groups == nil {
		return killAll(func(seen scan) []proc.Stat { return seen.orphans(seen.oldest(running)) })
	}
	invocation := os.Getenv(invocationVar)
	if invocation == "" {
		return nil // who else may have put processes into the tree is not known
	}
	born := make(map[string]uint64, len(running))
	for _, r := range running {
		born[r.Cgroup] = r.Start
	}
	var errs error
	err := killAll(func(seen scan) []proc.Stat {
		var members map[int]string
		if members, errs = groups.Members(); errs != nil {
			return nil
		}
		return seen.strays(members, groups.Worker, born, func(s proc.Stat) bool {
			env, err := proc.Environ(s.PID)
			of, ok := env.Lookup(invocationVar)
			return err == nil && ownedByUs(s.PID) && (!ok || of != invocation)
		})
	})
	if errs != nil {
		return fmt.Errorf("look for strays: %w", errs)
	}
	return err
}

// invocationVar is what systemd sets for all that it runs for a unit (systemd.exec(5)): the daemon,
// and the commands of ExecReload= and ExecStopPost=. Workers do not have it.
const invocationVar = "INVOCATION_ID"

// strays are the members of a tree that are in no worker's group, or in that of a worker which is
// younger than they are. worker returns the worker's group that a group is in, or "". suspect is
// asked about processes in no worker's group.
func (seen scan) strays(
	members map[int]string, worker func(dir string) string, born map[string]uint64, suspect func(proc.Stat) bool,
) (list []proc.Stat) {
	house := seen.household()
	for _, s := range seen.all {
		dir, ok := members[s.PID]
		if !ok || s.Ended() {
			continue
		}
		if of := worker(dir); of != "" {
			if start, known := born[of]; known && s.Start < start {
				list = append(list, s)
			}
			continue
		}
		if !house[s.PID] && suspect(s) {
			list = append(list, s)
		}
	}
	return list
}

// household is this process, and what it has started itself with all that descends from it: a
// worker that is just about to enter its group, a command that runs in the daemon's. What was left
// to this process by the death of its parent is not.
func (seen scan) household() map[int]bool {
	children.Lock()
	house := make(map[int]bool, len(children.own))
	for pid := range children.own {
		house[pid] = true
	}
	children.Unlock()
	for _, s := range withDescendants(seen.all, house) {
		house[s.PID] = true
	}
	house[os.Getpid()] = true
	return house
}

// orphans are what was left to this process by workers that are gone and was started before a time,
// with all that descends from it.
func (seen scan) orphans(before uint64) []proc.Stat {
	children.Lock()
	defer children.Unlock()
	orphans := make(map[int]bool)
	for _, s := range seen.all {
		if _, own := children.own[s.PID]; !own && s.Parent == os.Getpid() && s.Start < before {
			orphans[s.PID] = true
		}
	}
	return withDescendants(seen.all, orphans)
}

// oldest is when the first of all workers and commands was started that run.
func (seen scan) oldest(running []Running) uint64 {
	oldest := uint64(math.MaxUint64)
	for _, r := range running {
		oldest = min(oldest, r.Start)
	}
	children.Lock()
	defer children.Unlock()
	for _, s := range seen.all {
		if what, own := children.own[s.PID]; own && what == ofApp {
			oldest = min(oldest, s.Start)
		}
	}
	return oldest
}

// ownedByUs reports whether a process runs as the user of this one. Another's cannot have moved
// itself: the tree is not theirs. Not by proc.UID, which is root's when the process cannot be dumped.
func ownedByUs(pid int) bool {
	st, err := proc.ReadStatus(pid)
	return err == nil && st.UID == uint32(os.Geteuid())
}
