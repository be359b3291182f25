// Package proc reads /proc: what the kernel says about processes, their descriptors, mounts and
// network sockets. No other package parses its files.
//
// Processes end, execute another program and change their names while they are read. So each
// function reads its file once, an ended process is fs.ErrNotExist (also where the kernel says
// ESRCH), a process that may not be inspected is fs.ErrPermission, and a name can contain any byte.
// A PID may have been reused since; callers that signal compare Stat.Start.
//
// It is not github.com/prometheus/procfs (tried: v0.23.0). There, reading the stat of every process
// takes six to eight times as long, and the search for a worker's processes does that; an
// environment is cut at 1 MB in silence, and is returned empty while the process executes a program,
// so that a child of a worker would escape; a process that ended is not always fs.ErrNotExist; and
// the masks of handled signals and pidfds are missing.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const root = "/proc"

// SelfExe is the program of this process, even after its file was replaced or removed.
const SelfExe = root + "/self/exe"

// Path returns the path of a file of a process, such as Path(1, "fd", "3").
func Path(pid int, elem ...string) string {
	path := root + "/" + strconv.Itoa(pid)
	for _, e := range elem {
		path += "/" + e
	}
	return path
}

// FDPath returns the path that leads to what a descriptor of this process has open. It
// cannot be replaced.
func FDPath(fd int) string { return filepath.Join(root, "self", "fd", strconv.Itoa(fd)) }

// PIDs returns the processes of this machine, without their threads.
func PIDs() ([]int, error) { return numbers(root) }

// numbers returns the entries of a directory that are numbers.
func numbers(path string) ([]int, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, gone(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, gone(err)
	}
	list := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			list = append(list, n)
		}
	}
	return list, nil
}

// HidesOthers reports whether /proc is mounted so that it does not list other users' processes
// (hidepid= in proc(5), ProtectProc= of a systemd unit).
func HidesOthers() bool {
	_, err := os.Stat(Path(1))
	return err != nil
}

// Threads returns the threads of a process. ReadStatus takes the number of a thread, too.
func Threads(pid int) ([]int, error) { return numbers(Path(pid, "task")) }

// Name returns the name of a process: the first 15 bytes of its program's file name, unless it has
// set another (proc_pid_comm(5)).
func Name(pid int) (string, error) {
	data, err := read(pid, "comm")
	return strings.TrimSuffix(string(data), "\n"), err
}

// Args returns the arguments of a process, beginning with its program. A zombie and a kernel thread
// have none.
func Args(pid int) ([]string, error) {
	data, err := read(pid, "cmdline")
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(data), "\x00"), "\x00"), nil // a title that it set ends with several
}

// Exe returns the path of the program that a process runs, and Dir that of its working directory.
// The path may have been removed since: Exe and Dir leave out the kernel's mark for it.
func Exe(pid int) (string, error) { return readlink(Path(pid, "exe")) }

// Dir returns the working directory of a process.
func Dir(pid int) (string, error) { return readlink(Path(pid, "cwd")) }

// RootDir returns the root directory of a process.
func RootDir(pid int) (string, error) { return readlink(Path(pid, "root")) }

// NetNamespace returns the name of a process's network namespace; equal names are the same one.
func NetNamespace(pid int) (string, error) { return readlink(Path(pid, "ns", "net")) }

// UID returns the user who owns a process's files in /proc: its effective user, or root if it
// cannot be dumped (PR_SET_DUMPABLE).
func UID(pid int) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(Path(pid), &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: Path(pid), Err: err}
	}
	return st.Uid, nil
}

// LoginUID returns the user who logged in, regardless of a later sudo or su; ok is false if no
// user did, or the kernel keeps no record (proc_pid_loginuid(5)).
func LoginUID(pid int) (uid uint32, ok bool) {
	const unset = 1<<32 - 1
	data, err := read(pid, "loginuid")
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 32)
	return uint32(n), err == nil && n != unset
}

// Children returns the child processes of a process's main thread.
func Children(pid int) ([]int, error) {
	data, err := read(pid, "task", strconv.Itoa(pid), "children")
	var list []int
	for field := range bytes.FieldsSeq(data) {
		if n, err := strconv.Atoi(string(field)); err == nil {
			list = append(list, n)
		}
	}
	return list, err
}

// Descendants returns the processes that a process and its descendants have started, in any of their
// threads, and that have not been left to another parent.
func Descendants(pid int) ([]int, error) {
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, p := range pids {
		if stat, err := ReadStat(p); err == nil { // else it has ended
			children[stat.Parent] = append(children[stat.Parent], p)
		}
	}
	list := []int{pid}
	for i := 0; i < len(list); i++ { // grows while it is read
		list = append(list, children[list[i]]...)
	}
	return list[1:], nil
}

// Sysctl returns a setting of the kernel that is a number, such as Sysctl("net/core/somaxconn").
func Sysctl(name string) (int, error) {
	data, err := os.ReadFile(filepath.Join(root, "sys", name))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(data)))
}

func read(pid int, elem ...string) ([]byte, error) {
	data, err := os.ReadFile(Path(pid, elem...))
	return data, gone(err)
}

// deleted is what the kernel appends to the path of a removed file (d_path in fs/d_path.c).
const deleted = " (deleted)"

func readlink(path string) (string, error) {
	to, err := os.Readlink(path)
	return strings.TrimSuffix(to, deleted), gone(err)
}

// gone makes ESRCH, with which the kernel answers for a process that ended after its file was
// opened, an fs.ErrNotExist.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}
