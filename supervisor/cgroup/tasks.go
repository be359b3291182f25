package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// reserve is how many of the tasks (processes and threads) that the unit may have (TasksMax=) are
// the daemon's: beyond the limit a thread that its runtime needs cannot be made, and that ends it.
// A daemon has about 15, an upgrade has two of them, and ExecReload= adds one more. Of a limit
// below four times that many it is a quarter.
const reserve = 64

// limitTasks gives the groups of all workers together a limit below the tree's own. Where the pids
// controller is not delegated, there is none.
func (t *Tree) limitTasks() error {
	limit, ok := number(t.dir, "pids.max")
	if !ok {
		return nil
	}
	err := write(filepath.Join(t.dir, workersGroup), "pids.max", strconv.FormatUint(limit-min(reserve, limit/4), 10))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the controller is not delegated, or no worker has a group
	}
	if err != nil {
		return fmt.Errorf("limit the tasks of the workers: %w", err)
	}
	return nil
}

// Tasks is how many processes and threads there are and may be.
type Tasks struct {
	Now, Max uint64
	Most     string // the worker's group that has the most, below that of the workers
	MostNow  uint64
}

// Tasks returns what all workers have together; false where that is not limited.
func (t *Tree) Tasks() (Tasks, bool) {
	if t == nil {
		return Tasks{}, false
	}
	all := filepath.Join(t.dir, workersGroup)
	now, known := number(all, "pids.current")
	limit, limited := number(all, "pids.max")
	if !known || !limited {
		return Tasks{}, false
	}
	tasks := Tasks{Now: now, Max: limit}
	for _, dir := range t.find("g*", "*.*") {
		if n, ok := number(dir, "pids.current"); ok && n > tasks.MostNow {
			tasks.MostNow, tasks.Most = n, strings.TrimPrefix(dir, all+"/")
		}
	}
	return tasks, true
}

// number reads a number out of a file of a group; false when it says "max" or is not there.
func number(dir, file string) (uint64, bool) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
