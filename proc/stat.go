package proc

import (
	"bytes"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what proc_pid_stat(5) says of a process.
type Stat struct {
	PID, Parent, Group, Session int

	State byte   // R, S, D, T, t, Z or X
	Start uint64 // clock ticks since boot; with the PID it identifies a process
	RSS   uint64 // resident memory in pages
	CPU   time.Duration

	flags uint64
}

// Ended reports whether the process has ended and only waits to be reaped.
func (s Stat) Ended() bool { return s.State == 'Z' || s.State == 'X' }

// KernelThread reports whether the process is a thread of the kernel.
func (s Stat) KernelThread() bool {
	const flag = 0x00200000 // PF_KTHREAD in include/linux/sched.h
	return s.flags&flag != 0
}

// tick is the kernel's unit of processor time, USER_HZ, which is 100 on every platform of superctl.
const tick = time.Second / 100

// ReadStat returns the stat of a process.
func ReadStat(pid int) (Stat, error) {
	var buf [1024]byte // all of it, on every kernel
	data, err := readOnce(buf[:], Path(pid, "stat"))
	if err != nil {
		return Stat{}, err
	}
	s, err := parseStat(data)
	if err != nil {
		return Stat{}, fmt.Errorf("%s: %w", Path(pid, "stat"), err)
	}
	s.PID = pid
	return s, nil
}

func parseStat(data []byte) (s Stat, err error) {
	// The second field is the name in parentheses, which may itself contain blanks, newlines and
	// parentheses.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return s, fmt.Errorf("no name")
	}
	field := 2 // as the man page counts them, from 1
	for text := range bytes.FieldsSeq(data[end+1:]) {
		field++
		var n uint64
		switch field {
		case 3:
			if s.State = text[0]; s.State < 'A' || s.State > 'z' {
				return s, fmt.Errorf("the state %q is not a letter", text)
			}
			continue
		case 4, 5, 6, 9, 14, 15, 22, 24:
			if n, err = strconv.ParseUint(string(bytes.TrimPrefix(text, []byte{'-'})), 10, 64); err != nil {
				return s, err
			}
		}
		switch field {
		case 4:
			s.Parent = int(n)
		case 5:
			s.Group = int(n)
		case 6:
			s.Session = int(n)
		case 9:
			s.flags = n
		case 14, 15:
			s.CPU += time.Duration(n) * tick
		case 22:
			s.Start = n
		case 24:
			s.RSS = n
			return s, nil
		}
	}
	return s, fmt.Errorf("only %d fields", field)
}

// readOnce reads the beginning of a file in one go. os.ReadFile would take three times as long: it
// stats the file, asks for it to be polled, and reads it twice.
func readOnce(buf []byte, path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, gone(&fs.PathError{Op: "read", Path: path, Err: err})
	}
	return buf[:n], nil
}
