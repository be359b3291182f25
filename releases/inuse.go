package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"superctl/plain"
	"superctl/proc"
)

// uses records which processes use which directories.
type uses struct {
	by     map[string]string // directory -> the process that uses it, and how
	unseen []string          // processes that could not be inspected
}

// findUses inspects every process of the machine: its program, working directory, open and mapped
// files. It also finds files that have since been removed or renamed.
func findUses(dirs []string) (uses, error) {
	u := uses{by: make(map[string]string)}
	pids, err := proc.PIDs()
	if err != nil {
		return u, fmt.Errorf("inspect the processes: %w", err)
	}
	if proc.HidesOthers() {
		u.unseen = append(u.unseen, "other users")
	}
	at := make(map[inode]string) // a process in a container sees the directory at another path
	for _, dir := range dirs {
		if st, err := os.Stat(dir); err == nil {
			at[inodeOf(st)] = dir
		}
	}
	for _, pid := range pids {
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
	note := func(path, how string) {
		for _, dir := range dirs {
			if u.by[dir] == "" && (path == dir || strings.HasPrefix(path, dir+"/")) {
				u.by[dir] = fmt.Sprintf("%s (pid %d) %s", command(pid), pid, how)
			}
		}
	}
	exe, err := proc.Exe(pid)
	if errors.Is(err, fs.ErrPermission) {
		return false
	}
	note(exe, "runs a program from it")
	for _, link := range []struct {
		name, how string
		read      func(pid int) (string, error)
	}{
		{"cwd", "has its working directory in it", proc.Dir},
		{"root", "has it as its root", proc.RootDir},
	} {
		if path, err := link.read(pid); err == nil {
			note(path, link.how)
		}
		if st, err := os.Stat(proc.Path(pid, link.name)); err == nil && at[inodeOf(st)] != "" {
			note(at[inodeOf(st)], link.how)
		}
	}
	open, errOpen := proc.Descriptors(pid)
	for _, d := range open {
		note(d.Path(), "has a file in it open")
	}
	files, errMapped := proc.Mapped(pid)
	for _, path := range files {
		note(path, "has a file in it mapped")
	}
	return !errors.Is(errOpen, fs.ErrPermission) && !errors.Is(errMapped, fs.ErrPermission)
}

func owner(pid int) string {
	uid, err := proc.UID(pid)
	if err != nil {
		return "an unknown user"
	}
	name := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		return u.Username
	}
	return name
}

func command(pid int) string {
	name, err := proc.Name(pid)
	if err != nil {
		return "a process"
	}
	return plain.Name(name)
}

// kernelThread reports whether a process is a kernel thread, or has ended.
func kernelThread(pid int) bool {
	s, err := proc.ReadStat(pid)
	return err != nil || s.KernelThread()
}

// mountedIn returns a mount point at or below a directory, or "": a prune must not remove another
// file system's files.
func mountedIn(dir string) (string, error) {
	mounts, err := proc.Mounts()
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if m.Point == dir || strings.HasPrefix(m.Point, dir+"/") {
			return m.Point, nil
		}
	}
	return "", nil
}
