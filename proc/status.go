package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"syscall"
)

// Status is what proc_pid_status(5) says of a process or a thread, as far as it is used.
type Status struct {
	UID              uint32 // effective
	Memory, PeakSize uint64 // resident, in bytes; 0 for a zombie
	Switches         int    // how often it was given a processor
	handled          uint64 // mask of the signals that are caught or ignored
	pending          uint64 // mask of the signals that wait for the process to take them
}

// Handles reports whether a signal is caught or ignored; the default action of most ends the
// process.
func (s Status) Handles(sig syscall.Signal) bool { return s.handled&(1<<(uint(sig)-1)) != 0 }

// Pending reports whether a signal was sent to the process that it has not taken yet. A stopped
// process takes none but SIGKILL and SIGCONT.
func (s Status) Pending() bool { return s.pending != 0 }

// ReadStatus returns the status of a process or a thread.
func ReadStatus(pid int) (Status, error) {
	data, err := read(pid, "status")
	if err != nil {
		return Status{}, err
	}
	s, err := parseStatus(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", Path(pid, "status"), err)
	}
	return s, err
}

func parseStatus(data []byte) (s Status, err error) {
	for line := range bytes.Lines(data) {
		// The kernel escapes newlines in the name, which is in the first line.
		name, rest, _ := bytes.Cut(line, []byte(":"))
		f := bytes.Fields(rest)
		if len(f) == 0 {
			continue
		}
		var n uint64
		number := func(text []byte, base int) uint64 {
			var wrong error
			if n, wrong = strconv.ParseUint(string(text), base, 64); wrong != nil && err == nil {
				err = fmt.Errorf("%s: %w", name, wrong)
			}
			return n
		}
		switch string(name) {
		case "Uid": // real, effective, saved, of the file system
			if len(f) > 1 {
				s.UID = uint32(number(f[1], 10))
			}
		case "VmRSS":
			s.Memory = number(f[0], 10) << 10
		case "VmHWM":
			s.PeakSize = number(f[0], 10) << 10
		case "SigIgn", "SigCgt":
			s.handled |= number(f[0], 16)
		case "SigPnd", "ShdPnd":
			s.pending |= number(f[0], 16)
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			s.Switches += int(number(f[0], 10))
		}
	}
	return s, err
}

// ProportionalSize returns the memory of a process in bytes, in which a page that n processes share
// counts as an n-th (proc_pid_smaps(5), Pss).
func ProportionalSize(pid int) (uint64, error) {
	data, err := read(pid, "smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if text, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(text), []byte("kB")))), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no Pss", Path(pid, "smaps_rollup"))
}
