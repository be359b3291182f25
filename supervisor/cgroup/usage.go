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
	u.Memory, _ = number(dir, "memory.current")
	return u, true
}

// OOM is how often the kernel has ended a process of a group for want of memory.
type OOM struct {
	Kills uint64
	Limit bool // the group was at its own limit, memory.max; else the machine, or a group above, had no memory left
}

// OutOfMemory reads the kills of a group (memory.events); none where there is no memory controller.
func OutOfMemory(dir string) (o OOM) {
	if dir == "" {
		return o
	}
	text, err := os.ReadFile(filepath.Join(dir, "memory.events"))
	if err != nil {
		return o
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "oom_kill":
			o.Kills = n
		case "oom":
			o.Limit = n > 0
		}
	}
	return o
}

// WorkingSet returns the memory that a group is charged for without the page cache that the kernel
// drops first: memory.current less inactive_file, in bytes. It returns false without a memory
// controller.
func WorkingSet(dir string) (uint64, bool) {
	if dir == "" {
		return 0, false
	}
	current, ok := number(dir, "memory.current")
	if !ok {
		return 0, false
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(stat)) {
		if text, found := strings.CutPrefix(line, "inactive_file "); found {
			cache, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			return current - min(current, cache), err == nil
		}
	}
	return 0, false
}
