package proc

import (
	"bytes"
	"errors"
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

func parseStat(data []byte) (Stat, error) {
	// The second field is the name in parentheses, which may itself contain blanks, newlines and
	// parentheses.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return Stat{}, errors.New("no name")
	}
	const last = 24
	var state byte
	var n [last + 1]uint64
	field := 2 // as the man page counts them, from 1
	for text := range bytes.FieldsSeq(data[end+1:]) {
		if field == last {
			break
		}
		field++
		var err error
		switch field {
		case 3:
			if state = text[0]; state < 'A' || state > 'z' {
				err = fmt.Errorf("the state %q is not a letter", text)
			}
		case 4, 5, 6, 9, 14, 15, 22, last:
			n[field], err = strconv.ParseUint(string(bytes.TrimPrefix(text, []byte{'-'})), 10, 64)
		}
		if err != nil {
			return Stat{}, err
		}
	}
	if field < last {
		return Stat{}, fmt.Errorf("only %d fields", field)
	}
	return Stat{
		State: state, Parent: int(n[4]), Group: int(n[5]), Session: int(n[6]), flags: n[9],
		CPU: time.Duration(n[14]+n[15]) * tick, Start: n[22], RSS: n[last],
	}, nil
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
