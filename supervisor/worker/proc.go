package worker

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"

	"superctl/proc"
)

func startTime(pid int) (uint64, error) {
	s, err := proc.ReadStat(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrGone
	}
	return s.Start, err
}

// processes lists all processes that can be read; those that end meanwhile are left out.
func processes() ([]proc.Stat, error) {
	pids, err := proc.PIDs()
	if err != nil {
		return nil, err
	}
	// Each processor reads a part: there may be thousands, and people wait for a status.
	parts := slices.Collect(slices.Chunk(pids, len(pids)/runtime.GOMAXPROCS(0)+1))
	found, errs := make([][]proc.Stat, len(parts)), make([]error, len(parts))
	var reading sync.WaitGroup
	for i, part := range parts {
		reading.Go(func() { found[i], errs[i] = readStats(part) })
	}
	reading.Wait()
	return slices.Concat(found...), errors.Join(errs...)
}

// readStats reads the stat files of those processes that still run. The error is that no file at
// all can be read.
func readStats(pids []int) (list []proc.Stat, err error) {
	for _, pid := range pids {
		s, err := proc.ReadStat(pid)
		if noDescriptors(err) {
			return nil, err
		}
		if err == nil {
			list = append(list, s)
		}
	}
	return list, nil
}

// tagOf returns the tag in the environment that a process was started with. A process whose
// environment cannot be read has none; the error is that no file at all can be read.
func tagOf(pid int) (tag string, ok bool, err error) {
	env, err := proc.Environ(pid)
	if noDescriptors(err) {
		return "", false, err
	}
	tag, ok = env.Lookup(tagVar)
	return tag, ok, nil
}

// BelongsTo reports whether a process was started as a worker of the app, or by one.
func BelongsTo(pid int, app string) bool {
	env, err := proc.Environ(pid)
	name, ok := env.Lookup("SUPERCTL_APP")
	return err == nil && ok && name == app
}

// root is the process that a family comes from: a worker's own. Its pid alone may be another
// process's by now; the kernel gives the number away once the process is reaped and no process
// group has it.
type root struct {
	pid   int    // -1 = not known
	start uint64 // clock ticks since boot
	tag   string
	// session is the one that its process group is in, for a group whose leader is reaped: a number
	// that a stranger got, and left to a group of its own, is in another session. 0 = such a group
	// is none of this worker's.
	session int
}

// family is every process that belongs to a worker: its process group, what descends from either,
// and what carries the tag in its environment, wherever it has got to (a double fork with a session
// of its own).
func family(of root) ([]proc.Stat, error) {
	seen, err := lookAround()
	if err != nil {
		return nil, err
	}
	return seen.relatives(of), nil
}

func (seen scan) relatives(of root) []proc.Stat {
	leader := seen.leader(of)
	own := make(map[int]bool)
	for _, s := range seen.all {
		carried, tagged := seen.tags[s.PID]
		if leader.has(s, of) || tagged && carried == of.tag && s.PID != os.Getpid() {
			own[s.PID] = true
		}
	}
	return withDescendants(seen.all, own)
}

// leadership is what has become of the number of a worker's process group.
type leadership int

const (
	leads leadership = iota // the worker, or its zombie, has it
	left                    // it is reaped, and no process has the number: at most a group does
	lost                    // another process has it, so that its group is that one's too
)

func (seen scan) leader(of root) leadership {
	for _, s := range seen.all {
		switch {
		case s.PID != of.pid:
		case s.Start == of.start:
			return leads
		default:
			return lost
		}
	}
	return left
}

// has reports whether a process is the worker itself or in its process group. The members of a
// group share its session (setpgid(2)), and none is older than its leader.
func (l leadership) has(s proc.Stat, of root) bool {
	switch l {
	case leads:
		return s.Group == of.pid && s.Start >= of.start || s.PID == of.pid
	case left:
		return of.session != 0 && s.Group == of.pid && s.Session == of.session && s.Start >= of.start
	case lost:
	}
	return false
}

// withDescendants lists those of the processes that are in own, or descend from one that is, and
// are still alive.
func withDescendants(all []proc.Stat, own map[int]bool) (list []proc.Stat) {
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if !own[s.PID] && own[s.Parent] {
				own[s.PID], grown = true, true
			}
		}
	}
	for _, s := range all {
		if own[s.PID] && !s.Ended() {
			list = append(list, s)
		}
	}
	return list
}

// lineageLimit bounds how far up a process is traced; no worker nests deeper.
const lineageLimit = 64

// Lineage returns the processes that pid can belong to, the nearest first: itself, the leader of
// its process group, and those of its ancestors. What has ended cannot be traced, and is its own
// lineage.
func Lineage(pid int) []int {
	var line []int
	for p := pid; p > 1 && len(line) < lineageLimit; {
		line = append(line, p)
		s, err := proc.ReadStat(p)
		if err != nil {
			break
		}
		if s.Group > 1 && s.Group != p {
			line = append(line, s.Group)
		}
		p = s.Parent
	}
	return line
}

// PIDs are the processes of the worker: itself, its group and its descendants.
func (w *Worker) PIDs() []int {
	list, err := family(w.root())
	if err != nil {
		return []int{w.pid}
	}
	pids := make([]int, len(list))
	for i, s := range list {
		pids[i] = s.PID
	}
	return pids
}
