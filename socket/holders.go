package socket

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// holder is a process that has a socket open.
type holder struct {
	pid  int
	name string
}

func (h holder) String() string { return fmt.Sprintf("%s (pid %d)", h.name, h.pid) }

// holders returns the processes that have one of the sockets open. Only root sees the descriptors
// of other users' processes, so an empty result proves nothing.
func holders(inodes map[uint32]bool) map[uint32][]holder {
	found := map[uint32][]holder{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return found
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		for inode := range socketsOf(pid) {
			if inodes[inode] {
				found[inode] = append(found[inode], holder{pid, processName(pid)})
			}
		}
	}
	return found
}

// socketsOf returns the inodes of the sockets that a process has open. It returns none if the
// process has ended or may not be inspected.
func socketsOf(pid int) map[uint32]bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	inodes := map[uint32]bool{}
	for _, fd := range fds {
		link, err := os.Readlink(dir + "/" + fd.Name())
		if err != nil {
			continue
		}
		number, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); err == nil {
			inodes[uint32(inode)] = true
		}
	}
	return inodes
}

func processName(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "a process"
	}
	return string(bytes.TrimSpace(comm))
}

// InUseError reports that another process uses an address.
type InUseError struct {
	Address string
	PIDs    []int // the processes that use it, as far as this user may see
	who     string
}

// Error names the process that uses the address, and the next step.
func (e *InUseError) Error() string {
	return fmt.Sprintf("%s is in use by %s: stop it, or choose another address", e.Address, e.who)
}

// inUse returns the error for a socket of user uid that the processes hold.
func inUse(address string, uid uint32, who []holder) *InUseError {
	e := &InUseError{Address: address}
	var names []string
	for _, h := range who {
		if !slices.Contains(e.PIDs, h.pid) {
			e.PIDs, names = append(e.PIDs, h.pid), append(names, h.String())
		}
	}
	switch {
	case len(names) == 0:
		e.who = fmt.Sprintf("a process of user %s that this user may not inspect", userName(uid))
	case len(names) > 3:
		e.who = fmt.Sprintf("%s and %d more processes", strings.Join(names[:3], ", "), len(names)-3)
	default:
		e.who = strings.Join(names, ", ")
	}
	return e
}
