package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process of this machine.
type Process struct {
	PID     int
	Parent  int
	Command string
}

// processes returns those that belong to dir: they have the mark with it, work in it, or name it in
// their command. It skips threads and zombies, which wait for their parents only.
func processes(dir string, except ...int) []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || slices.Contains(except, pid) {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		state, parent := stat(proc)
		if state == "" || state == "Z" || state == "X" {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		marked := slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool {
			value, ok := strings.CutPrefix(string(v), mark+"=")
			return ok && within(value, dir)
		})
		if marked || within(cwd, dir) || bytes.Contains(cmdline, []byte(dir+"/")) {
			command := strings.TrimSpace(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
			found = append(found, Process{PID: pid, Parent: parent, Command: command})
		}
	}
	return found
}

// Belonging returns the processes that belong to dir, except for this one.
func Belonging(dir string) []Process { return processes(dir, os.Getpid()) }

// EndAll kills every process that belongs to dir.
func EndAll(dir string) { endAll(dir) }

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	path = strings.TrimSuffix(path, " (deleted)")
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// stat returns a process's state letter and parent.
func stat(proc string) (state string, parent int) {
	content, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return "", 0
	}
	// The second field is the command's name in parentheses, which may contain any character.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

func describe(ps []Process) string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintf(&b, "  pid %d, parent %d: %s\n", p.PID, p.Parent, p.Command)
	}
	return b.String()
}

// awaitExit waits for the end of a process, which need not be a child. It reports whether the
// process ended in time.
func awaitExit(pid int, limit time.Duration) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		// a descriptor
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 || (err != nil && err != unix.EINTR) {
			return true
		}
	}
}

// endAll kills every process of dir, and those that they start meanwhile.
func endAll(dir string) {
	for range 20 {
		left := processes(dir, os.Getpid())
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			fd, err := unix.PidfdOpen(p.PID, 0)
			if err != nil {
				continue
			}
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			_ = unix.Close(fd)
		}
		for _, p := range left {
			awaitExit(p.PID, time.Second)
		}
	}
}
