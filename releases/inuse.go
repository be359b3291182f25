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

// uses records which processes use which directories.
type uses struct {
	by     map[string]string // directory -> the process that uses it, and how
	unseen []string          // processes that could not be inspected
}

// procDir is the mount point of procfs.
const procDir = "/proc"

// findUses inspects every process of the machine: its program, working directory, open and mapped
// files. It also finds files that have since been removed or renamed.
func findUses(dirs []string) (uses, error) {
	u := uses{by: make(map[string]string)}
	entries, err := os.ReadDir(procDir)
	if err != nil {
		return u, fmt.Errorf("inspect the processes: %w", err)
	}
	if _, err := os.Stat(filepath.Join(procDir, "1")); err != nil {
		u.unseen = append(u.unseen, "other users") // /proc is mounted with hidepid
	}
	at := make(map[inode]string) // a process in a container sees the directory at another path
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

// look inspects one process, and returns false if that is not permitted.
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
	note(exe, "runs a program from it")
	for link, how := range map[string]string{"cwd": "has its working directory in it", "root": "has it as its root"} {
		path, err := os.Readlink(filepath.Join(proc, link))
		if err == nil {
			note(path, how)
		}
		if st, err := os.Stat(filepath.Join(proc, link)); err == nil && at[inodeOf(st)] != "" {
			note(at[inodeOf(st)], how)
		}
	}
	for _, path := range opened(proc) {
		note(path, "has a file in it open")
	}
	return mapped(proc, func(path string) { note(path, "has a file in it mapped") })
}

// opened returns the targets of a process's descriptors.
func opened(proc string) (paths []string) {
	fds, _ := os.ReadDir(filepath.Join(proc, "fd")) // fails if the process has ended
	for _, fd := range fds {
		if path, err := os.Readlink(filepath.Join(proc, "fd", fd.Name())); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// mapped calls note for each file that a process has mapped (proc_pid_maps(5)), and returns false
// if that is not permitted.
func mapped(proc string, note func(path string)) bool {
	f, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return !errors.Is(err, fs.ErrPermission)
	}
	defer f.Close()
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
		return "an unknown user"
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "an unknown user"
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

// kernelThread reports whether a process is a kernel thread (PF_KTHREAD in proc_pid_stat(5)).
func kernelThread(pid int) bool {
	const flag = 0x00200000
	stat, err := os.ReadFile(filepath.Join(procDir, strconv.Itoa(pid), "stat"))
	if err != nil {
		return true // it has ended
	}
	// state, ppid, pgrp, session, tty, tpgid, flags
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&flag != 0
}

// mountedIn returns a mount point at or below a directory, or "": a prune must not remove another
// file system's files.
func mountedIn(dir string) string {
	f, err := os.Open(filepath.Join(procDir, "self", "mountinfo"))
	if err != nil {
		return ""
	}
	defer f.Close()
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

// unescape decodes \040 and the like (proc_pid_mountinfo(5)).
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
