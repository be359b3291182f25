package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is the resource usage of a group, including processes that have ended.
type Usage struct {
	CPU    time.Duration // since the group was created
	Memory uint64        // bytes, including page cache; 0 without a memory controller
}

// ReadUsage returns the usage of a group, and false if it is unknown.
func ReadUsage(dir string) (Usage, bool) {
	if dir == "" {
		return Usage{}, false
	}
	stat, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return Usage{}, false
	}
	var u Usage
	for line := range strings.Lines(string(stat)) {
		if text, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			if err != nil {
				return Usage{}, false
			}
			u.CPU = time.Duration(n) * time.Microsecond
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "memory.current")); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			u.Memory = n
		}
	}
	return u, true
}
