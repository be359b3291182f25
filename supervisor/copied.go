package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"superctl/proc"
)

// LockName is the name of the file in the state directory that a daemon keeps open.
const LockName = "lock"

// CheckStateOf returns why no daemon of an app can start with the state in a directory: it is another
// app's, a newer daemon's, or a copy of the state of a daemon that runs. A damaged state is no reason.
func CheckStateOf(dir, app string) error {
	st, err := readState(dir, app)
	if damaged := new(UnreadableStateError); errors.As(err, &damaged) {
		return nil
	}
	if err != nil {
		return err
	}
	return st.refuseCopy(dir, app)
}

// refuseCopy returns an error if a running daemon has the same workers in its own state directory, as
// after `cp -a`. Adopted from a copy, they would be stopped under that daemon.
func (st *state) refuseCopy(dir, app string) error {
	mine := st.workers()
	if len(mine) == 0 {
		return nil
	}
	pids, err := proc.PIDs()
	if err != nil {
		return nil //nolint:nilerr // without /proc no worker is adopted
	}
	for _, pid := range pids {
		for _, other := range stateDirs(pid) {
			theirs, err := readState(proc.Path(pid, "root", other), app)
			if err != nil || !slices.ContainsFunc(theirs.workers(), func(w workerID) bool { return slices.Contains(mine, w) }) {
				continue
			}
			if !sameDir(proc.Path(pid, "root", other), dir) {
				return fmt.Errorf("state directory %s is a copy of %s, whose daemon runs (pid %d) and has these workers; nothing was started: "+
					"remove %s", dir, other, pid, filepath.Join(dir, stateName))
			}
		}
	}
	return nil
}

// stateDirs returns the state directories of a daemon of root or of this user. Others, such as the app's
// user, must not keep this daemon from starting.
func stateDirs(pid int) (dirs []string) {
	args, err := proc.Args(pid)
	if err != nil || pid == os.Getpid() || !slices.Contains(args, "daemon") {
		return nil
	}
	if uid, err := proc.UID(pid); err != nil || uid != 0 && int(uid) != os.Geteuid() {
		return nil
	}
	files, err := proc.Descriptors(pid)
	if err != nil {
		return nil // it ended, or another user's, whose workers cannot be adopted
	}
	for _, f := range files {
		if filepath.IsAbs(f.Target) && filepath.Base(f.Target) == LockName {
			dirs = append(dirs, filepath.Dir(f.Target))
		}
	}
	return dirs
}

func sameDir(one, other string) bool {
	a, errA := os.Stat(one)
	b, errB := os.Stat(other)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// workerID tells a worker from every other process since the machine started.
type workerID struct {
	pid   int
	start uint64
}

// workers returns the workers that ran when the state was written.
func (st *state) workers() (list []workerID) {
	for i := range st.Generations {
		for _, w := range st.Generations[i].Workers {
			if w.PID > 0 {
				list = append(list, workerID{w.PID, w.StartTime})
			}
		}
	}
	return list
}
