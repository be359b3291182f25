package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// familyLimit bounds how many processes of a worker are returned.
const familyLimit = 4096

// Family returns the processes of the worker, its main one first: those of its control group, else
// its process group, what descends from it, and what has detached itself and carries its tag. Many
// workers that ask at the same time share one look.
func (w *Worker) Family() []int {
	if w.group != "" {
		if pids := inGroup(w.group); len(pids) > 0 {
			return w.first(pids)
		}
	}
	seen, err := lookAround()
	if err != nil {
		return []int{w.pid}
	}
	var pids []int
	for _, s := range seen.relatives(w.root()) {
		pids = append(pids, s.PID)
	}
	return w.first(pids)
}

// first is the processes with the main one at their beginning, if it is among them.
func (w *Worker) first(pids []int) []int {
	slices.Sort(pids)
	pids = slices.Compact(pids)
	if i := slices.Index(pids, w.pid); i > 0 {
		pids = slices.Insert(slices.Delete(pids, i, i+1), 0, w.pid)
	}
	return pids[:min(len(pids), familyLimit)]
}

// inGroup lists the processes in a control group and in those that a worker has made in it.
func inGroup(dir string) (pids []int) {
	dirs := []string{dir}
	for len(dirs) > 0 && len(pids) < familyLimit {
		dir, dirs = dirs[0], dirs[1:]
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() {
				dirs = append(dirs, filepath.Join(dir, e.Name()))
			}
		}
	}
	return pids
}

// Inode returns the inode number of an open file.
func Inode(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("fstat: %w", err)
	}
	return st.Ino, nil
}
