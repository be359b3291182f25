package releases

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// uses is which processes use directories.
type uses struct {
	by     map[string]string // directory -> who uses it, and how
	unseen []string          // processes that could not be looked at
}

// procDir is where the kernel shows the processes.
const procDir = "/proc"

// findUses looks at every process of the machine: what it runs, where it is, what it has opened and mapped. A file that was removed
// or renamed meanwhile is found too.
func findUses(dirs []string) (uses, error) {
	u := uses{by: make(map[string]string)}
	entries, err := os.ReadDir(procDir)
	if err != nil {
		return u, fmt.Errorf("look at the processes: %w", err)
	}
	if _, err := os.Stat(filepath.Join(procDir, "1")); err != nil {
		u.unseen = append(u.unseen, "other users") // mounted with hidepid
	}
	at := make(map[inode]string) // a process in a container knows the directory by another path
	for _, dir := range dirs {
		if st, err := os.Stat(dir); err == nil {
			at[inodeOf(st)] = dir
		}
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if !u.look(pid, dirs, at) && !kernelThread(pid) {
			u.unseen = append(u.unseen, fmt.Sprintf("%s (pid %d) of %s", command(pid), pid, owner(pid)))
		}
	}
	return u, nil
}

func inodeOf(st fs.FileInfo) inode {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return inode{sys.Dev, sys.Ino}
	}
	return inode{}
}

// look looks at one process; false: that is not allowed.
func (u *uses) look(pid int, dirs []string, at map[inode]string) bool {
	proc := filepath.Join(procDir, strconv.Itoa(pid))
	note := func(path, how string) {
		path = strings.TrimSuffix(path, " (deleted)")
		for _, dir := range dirs {
			if u.by[dir] == "" && (path == dir || strings.HasPrefix(path, dir+"/")) {
				u.by[dir] = fmt.Sprintf("%s (pid %d) %s", command(pid), pid, how)
			}
		}
	}
	exe, err := os.Readlink(filepath.Join(proc, "exe"))
	if errors.Is(err, fs.ErrPermission) {
		return false
	}
	note(exe, "runs a program of it")
	for link, how := range map[string]string{"cwd": "is in it", "root": "has it as its root"} {
		path, err := os.Readlink(filepath.Join(proc, link))
		if err == nil {
			note(path, how)
		}
		if st, err := os.Stat(filepath.Join(proc, link)); err == nil && at[inodeOf(st)] != "" {
			note(at[inodeOf(st)], how)
		}
	}
	for _, path := range opened(proc) {
		note(path, "has opened a file of it")
	}
	return mapped(proc, func(path string) { note(path, "has mapped a file of it") })
}

// opened is what a process's descriptors lead to.
func opened(proc string) (paths []string) {
	fds, _ := os.ReadDir(filepath.Join(proc, "fd")) // it has ended
	for _, fd := range fds {
		if path, err := os.Readlink(filepath.Join(proc, "fd", fd.Name())); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// mapped hands on the files that a process has mapped (proc_pid_maps(5)); false: that is not allowed.
func mapped(proc string, note func(path string)) bool {
	f, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return !errors.Is(err, fs.ErrPermission)
	}
	defer f.Close() //nolint:errcheck // for reading only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if i := strings.IndexByte(lines.Text(), '/'); i >= 0 {
			note(lines.Text()[i:])
		}
	}
	return true
}

func owner(pid int) string {
	st, err := os.Stat(filepath.Join(procDir, strconv.Itoa(pid)))
	if err != nil {
		return "somebody"
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "somebody"
	}
	name := strconv.Itoa(int(sys.Uid))
	if u, err := user.LookupId(name); err == nil {
		return u.Username
	}
	return name
}

func command(pid int) string {
	name, err := os.ReadFile(filepath.Join(procDir, strconv.Itoa(pid), "comm"))
	if err != nil {
		return "a process"
	}
	return strings.TrimSpace(string(name))
}

// kernelThread tells whether a process has no program at all (PF_KTHREAD in proc_pid_stat(5)).
func kernelThread(pid int) bool {
	const flag = 0x00200000
	stat, err := os.ReadFile(filepath.Join(procDir, strconv.Itoa(pid), "stat"))
	if err != nil {
		return true // it has ended
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // state, ppid, pgrp, session, tty, tpgid, flags
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&flag != 0
}

// mountedIn is a mount point below a directory, or "": what is mounted there is somebody else's.
func mountedIn(dir string) string {
	f, err := os.Open(filepath.Join(procDir, "self", "mountinfo"))
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // for reading only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if at := unescape(fields[4]); at == dir || strings.HasPrefix(at, dir+"/") {
			return at
		}
	}
	return ""
}

// unescape turns \040 and the like back (proc_pid_mountinfo(5)).
func unescape(s string) string {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '\\')
		if i < 0 || from+i+4 > len(s) {
			return s
		}
		i += from
		if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
			s = string(slices.Concat([]byte(s[:i]), []byte{byte(n)}, []byte(s[i+4:])))
		}
		from = i + 1
	}
}
