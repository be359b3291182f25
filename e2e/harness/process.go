package harness

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"superctl/proc"

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
	pids, err := proc.PIDs()
	if err != nil {
		return nil
	}
	var found []Process
	for _, pid := range pids {
		s, err := proc.ReadStat(pid)
		if err != nil || s.Ended() || slices.Contains(except, pid) {
			continue
		}
		args, _ := proc.Args(pid) // each fails if the process has ended
		env, _ := proc.Environ(pid)
		cwd, _ := proc.Dir(pid)
		value, marked := env.Lookup(mark)
		command := strings.Join(args, " ")
		if marked && within(value, dir) || within(cwd, dir) || strings.Contains(command, dir+"/") {
			found = append(found, Process{PID: pid, Parent: s.Parent, Command: command})
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
	return path == dir || strings.HasPrefix(path, dir+"/")
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
