package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Members returns the group of every process in the tree, by pid.
func (t *Tree) Members() (map[int]string, error) {
	members := make(map[int]string)
	err := filepath.WalkDir(t.dir, func(dir string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || !e.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV): // removed
			return nil
		case errors.Is(err, unix.EOPNOTSUPP): // a threaded group, whose processes are listed in its domain
			return nil
		case err != nil:
			return err
		}
		for line := range strings.Lines(string(text)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				members[pid] = dir
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the processes in %s: %w", t.dir, err)
	}
	return members, nil
}

// Worker returns the group of the worker or command that dir is or lies in: one that this tree has
// created or adopted and not yet removed. It returns "" if there is none.
func (t *Tree) Worker(dir string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; len(dir) > len(t.dir); dir = filepath.Dir(dir) {
		if t.made[dir] {
			return dir
		}
	}
	return ""
}
