package proc

import (
	"bytes"
	"fmt"
	"strconv"
)

// Syscall is the system call in which a process is blocked or was stopped (proc_pid_syscall(5)).
type Syscall struct {
	Number int64 // -1 if it is in none
	Args   [6]uint64
}

// ReadSyscall returns the system call that the main thread of a process is in. ok is false while it
// runs.
func ReadSyscall(pid int) (s Syscall, ok bool, err error) {
	data, err := read(pid, "syscall")
	if err != nil {
		return Syscall{}, false, err
	}
	s, ok, err = parseSyscall(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", Path(pid, "syscall"), err)
	}
	return s, ok, err
}

func parseSyscall(data []byte) (s Syscall, ok bool, err error) {
	f := bytes.Fields(data)
	if len(f) == 0 || string(f[0]) == "running" {
		return s, false, nil
	}
	if s.Number, err = strconv.ParseInt(string(f[0]), 10, 64); err != nil {
		return s, false, err
	}
	if s.Number < 0 { // then the stack and the program counter follow
		return s, true, nil
	}
	if len(f) < 1+len(s.Args) {
		return s, false, fmt.Errorf("only %d fields", len(f))
	}
	for i := range s.Args {
		if s.Args[i], err = strconv.ParseUint(string(f[1+i]), 0, 64); err != nil {
			return s, false, err
		}
	}
	return s, true, nil
}
