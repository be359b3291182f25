package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// stat is what proc_pid_stat(5) says of a process.
type stat struct {
	pid, parent, group, session int
	state                       byte
	start                       uint64 // clock ticks since boot
	rss                         uint64 // pages
}

func readStat(pid int) (stat, error) {
	var buf [1024]byte // all of it, on every kernel
	data, err := readProc(buf[:], pid, "stat")
	if err != nil {
		return stat{}, err
	}
	// The second field is the command's name in parentheses, which may itself hold blanks and
	// parentheses.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("/proc/%d/stat: no command", pid)
	}
	s := stat{pid: pid}
	field := 2 // as the man page counts them, from 1
	for text := range bytes.FieldsSeq(data[end+1:]) {
		field++
		var n uint64
		switch field {
		case 3:
			s.state = text[0]
			continue
		case 4, 5, 6, 22, 24:
			if n, err = strconv.ParseUint(string(bytes.TrimPrefix(text, []byte{'-'})), 10, 64); err != nil {
				return stat{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
			}
		}
		switch field {
		case 4:
			s.parent = int(n)
		case 5:
			s.group = int(n)
		case 6:
			s.session = int(n)
		case 22:
			s.start = n
		case 24:
			s.rss = n
			return s, nil
		}
	}
	return stat{}, fmt.Errorf("/proc/%d/stat: %d fields", pid, field)
}

// readProc reads the beginning of a file of a process in one go. os.ReadFile would take three times
// as long: it stats the file, asks for it to be polled, and reads it twice.
func readProc(buf []byte, pid int, name string) ([]byte, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/" + name
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return buf[:n], nil
}

func startTime(pid int) (uint64, error) {
	s, err := readStat(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrGone
	}
	return s.start, err
}

// processes lists all processes that can be read; those that end meanwhile are left out.
func processes() ([]stat, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := readStat(pid)
		if noDescriptors(err) {
			return nil, err
		}
		if err == nil {
			all = append(all, s)
		}
	}
	return all, nil
}

// tagOf is the tag in the environment that a process was started with. One whose environment cannot
// be read has none; the error is that no file at all can be read.
func tagOf(pid int) (tag string, ok bool, err error) {
	env, err := environ(pid)
	if noDescriptors(err) {
		return "", false, err
	}
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if tag, ok := bytes.CutPrefix(e, []byte(tagVar+"=")); ok {
			return string(tag), true, nil
		}
	}
	return "", false, nil
}

// execTime bounds the wait for a process that is just executing a program, in milliseconds.
const execTime = 1000

// environ is the environment that a process was started with. While it executes a program, between
// its new memory (exec_mmap) and what that will hold (create_elf_tables; fs/exec.c,
// fs/binfmt_elf.c), neither its environment nor its arguments can be read: to take that for a
// stranger would let a child of a worker escape. It is awaited; the kernel has no event for it.
func environ(pid int) ([]byte, error) {
	for range execTime {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || len(env) > 0 || !executing(pid) {
			return env, err
		}
		_, _ = unix.Poll(nil, 1)
	}
	return nil, nil
}

// executing tells whether a process has a program, which a zombie and a thread of the kernel have
// not, and no arguments yet. A process that runs has at least the name of its program.
func executing(pid int) bool {
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
		return false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(args) == 0
}

// inEnvironment tells whether a process was started with the entry in its environment.
func inEnvironment(pid int, entry string) bool {
	env, err := environ(pid)
	if err != nil {
		return false
	}
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if string(e) == entry {
			return true
		}
	}
	return false
}

// BelongsTo tells whether a process was started as a worker of the app, or by one.
func BelongsTo(pid int, app string) bool {
	return inEnvironment(pid, "SUPERCTL_APP="+app)
}

// root is the process that a family comes from: a worker's own. Its pid alone may be another
// process's by now; the kernel gives the number away once the process is reaped and no process
// group has it.
type root struct {
	pid   int    // -1 = not known
	start uint64 // clock ticks since boot
	tag   string
	// session is the one that its process group is in, for a group whose leader is reaped: a number
	// that a stranger got, and left to a group of its own, is in another session. 0 = such a group
	// is none of this worker's.
	session int
}

// family is every process that belongs to a worker: its process group, what descends from either,
// and what carries the tag in its environment, wherever it has got to (a double fork with a session
// of its own).
func family(of root) ([]stat, error) {
	seen, err := lookAround()
	if err != nil {
		return nil, err
	}
	return seen.relatives(of), nil
}

func (seen scan) relatives(of root) []stat {
	leader := seen.leader(of)
	own := make(map[int]bool)
	for _, s := range seen.all {
		carried, tagged := seen.tags[s.pid]
		if leader.has(s, of) || tagged && carried == of.tag && s.pid != os.Getpid() {
			own[s.pid] = true
		}
	}
	return withDescendants(seen.all, own)
}

// leadership is what has become of the number of a worker's process group.
type leadership int

const (
	leads leadership = iota // the worker, or its zombie, has it
	left                    // it is reaped, and no process has the number: at most a group does
	lost                    // another process has it, so that its group is that one's too
)

func (seen scan) leader(of root) leadership {
	for _, s := range seen.all {
		switch {
		case s.pid != of.pid:
		case s.start == of.start:
			return leads
		default:
			return lost
		}
	}
	return left
}

// has reports whether a process is the worker itself or in its process group. The members of a
// group share its session (setpgid(2)), and none is older than its leader.
func (l leadership) has(s stat, of root) bool {
	switch l {
	case leads:
		return s.group == of.pid && s.start >= of.start || s.pid == of.pid
	case left:
		return of.session != 0 && s.group == of.pid && s.session == of.session && s.start >= of.start
	case lost:
	}
	return false
}

// withDescendants lists those of the processes that are in own, or descend from one that is, and
// are still alive.
func withDescendants(all []stat, own map[int]bool) (list []stat) {
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if !own[s.pid] && own[s.parent] {
				own[s.pid], grown = true, true
			}
		}
	}
	for _, s := range all {
		if own[s.pid] && s.state != 'Z' && s.state != 'X' {
			list = append(list, s)
		}
	}
	return list
}

// lineageLimit bounds how far up a process is traced; no worker nests deeper.
const lineageLimit = 64

// Lineage returns the processes that pid can belong to, the nearest first: itself, the leader of
// its process group, and those of its ancestors. What has ended cannot be traced, and is its own
// lineage.
func Lineage(pid int) []int {
	var line []int
	for p := pid; p > 1 && len(line) < lineageLimit; {
		line = append(line, p)
		s, err := readStat(p)
		if err != nil {
			break
		}
		if s.group > 1 && s.group != p {
			line = append(line, s.group)
		}
		p = s.parent
	}
	return line
}

// PIDs are the processes of the worker: itself, its group and its descendants.
func (w *Worker) PIDs() []int {
	list, err := family(w.root())
	if err != nil {
		return []int{w.pid}
	}
	pids := make([]int, len(list))
	for i, s := range list {
		pids[i] = s.pid
	}
	return pids
}
