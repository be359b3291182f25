package proc

import (
	"os"
	"strconv"
	"strings"
)

// Cgroup is the control group of a process in one hierarchy (proc_pid_cgroup(5)).
type Cgroup struct {
	Unified bool   // the hierarchy of version 2
	Path    string // from the root of the hierarchy, as this process sees it
}

// Cgroups returns the control groups of a process.
func Cgroups(pid int) ([]Cgroup, error) {
	data, err := read(pid, "cgroup")
	if err != nil {
		return nil, err
	}
	var list []Cgroup
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // hierarchy, controllers, path
		if len(f) == 3 {
			list = append(list, Cgroup{Unified: f[0] == "0" && f[1] == "", Path: strings.TrimSuffix(f[2], deleted)})
		}
	}
	return list, nil
}

// Mount is a mounted file system as this process sees it (proc_pid_mountinfo(5)).
type Mount struct {
	Root     string // directory of the file system that is mounted
	Point    string // where
	Type     string // such as "ext4" and "cgroup2"
	ReadOnly bool
}

// Mounts returns the mounts that this process sees, in the order in which they were made.
func Mounts() ([]Mount, error) {
	data, err := os.ReadFile(root + "/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data)), nil
}

func parseMounts(text string) (list []Mount) {
	for line := range strings.Lines(text) {
		mount, system, ok := strings.Cut(line, " - ") // a blank in a path is escaped
		f, fs := strings.Fields(mount), strings.Fields(system)
		if !ok || len(f) < 6 || len(fs) == 0 {
			continue
		}
		list = append(list, Mount{
			Root: unescape(f[3]), Point: unescape(f[4]), Type: fs[0],
			ReadOnly: strings.HasPrefix(f[5]+",", "ro,"),
		})
	}
	return list
}

// unescape replaces \040 and the like by the bytes that they stand for.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if len(after) >= 3 {
			if n, err := strconv.ParseUint(after[:3], 8, 8); err == nil {
				b.WriteByte(byte(n))
				s = after[3:]
				continue
			}
		}
		b.WriteByte('\\')
		s = after
	}
}
