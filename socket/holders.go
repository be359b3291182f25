package socket

import (
	"fmt"
	"slices"
	"strings"

	"superctl/proc"
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
	pids, _ := proc.PIDs()
	for _, pid := range pids {
		open, _ := openSockets(pid) // fails if the process may not be inspected
		for _, inode := range open {
			if at := uint32(inode); inodes[at] {
				found[at] = append(found[at], holder{pid, processName(pid)})
			}
		}
	}
	return found
}

func processName(pid int) string {
	name, err := proc.Name(pid)
	if err != nil {
		return "a process"
	}
	return name
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
