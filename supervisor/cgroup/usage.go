package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what the processes of a group use, those that have ended included.
type Usage struct {
	CPU    time.Duration // since the group was made
	Memory uint64        // bytes, with what the kernel caches for them; 0 where there is no memory controller
}

// Use reads what a group uses; false when that cannot be told.
func Use(dir string) (Usage, bool) {
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
