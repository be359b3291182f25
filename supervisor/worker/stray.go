package worker

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

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
		return killAll(func(seen scan) []stat { return seen.orphans(seen.oldest(running)) })
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
	err := killAll(func(seen scan) []stat {
		var members map[int]string
		if members, errs = groups.Members(); errs != nil {
			return nil
		}
		return seen.strays(members, groups.Worker, born, func(s stat) bool {
			env, err := environ(s.pid)
			return err == nil && ownedByUs(s.pid) &&
				!bytes.Contains(append([]byte{0}, env...), []byte("\x00"+invocationVar+"="+invocation+"\x00"))
		})
	})
	if errs != nil {
		return fmt.Errorf("look for strays: %w", errs)
	}
	return err
}

// invocationVar is what systemd sets for all that it runs for a unit (systemd.exec(5)): the daemon,
// and ExecReload= and ExecStopPost= beside it. Workers do not have it.
const invocationVar = "INVOCATION_ID"

// strays are the members of a tree that are in no worker's group, or in that of a worker which is
// younger than they are. worker returns the worker's group that a group is in, or "". suspect is
// asked about processes in no worker's group.
func (seen scan) strays(
	members map[int]string, worker func(dir string) string, born map[string]uint64, suspect func(stat) bool,
) (list []stat) {
	house := seen.household()
	for _, s := range seen.all {
		dir, ok := members[s.pid]
		if !ok || s.state == 'Z' || s.state == 'X' {
			continue
		}
		if of := worker(dir); of != "" {
			if start, known := born[of]; known && s.start < start {
				list = append(list, s)
			}
			continue
		}
		if !house[s.pid] && suspect(s) {
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
		house[s.pid] = true
	}
	house[os.Getpid()] = true
	return house
}

// orphans are what was left to this process by workers that are gone and was started before a time,
// with all that descends from it.
func (seen scan) orphans(before uint64) []stat {
	children.Lock()
	defer children.Unlock()
	orphans := make(map[int]bool)
	for _, s := range seen.all {
		if _, own := children.own[s.pid]; !own && s.parent == os.Getpid() && s.start < before {
			orphans[s.pid] = true
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
		if what, own := children.own[s.pid]; own && what == ofApp {
			oldest = min(oldest, s.start)
		}
	}
	return oldest
}

// ownedByUs reports whether a process runs as the user of this one. Another's cannot have moved
// itself: the tree is not theirs. Not by the owner of its directory in /proc, which is root's when
// the process cannot be dumped (PR_SET_DUMPABLE).
func ownedByUs(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			f := strings.Fields(ids) // real, effective, saved, of the file system (proc_pid_status(5))
			return len(f) > 1 && f[1] == strconv.Itoa(os.Geteuid())
		}
	}
	return false
}
