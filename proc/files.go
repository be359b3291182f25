package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Descriptor is an open file of a process.
type Descriptor struct {
	FD     int
	Target string // as the kernel says it: "/a/path", "/a/path (deleted)", "socket:[4711]", "anon_inode:[eventpoll]"
}

// Path returns the path of a file, which may have been removed since; "" for anything else.
func (d Descriptor) Path() string {
	if !strings.HasPrefix(d.Target, "/") {
		return ""
	}
	return strings.TrimSuffix(d.Target, deleted)
}

// Socket returns the inode of a socket; ok is false for anything else.
func (d Descriptor) Socket() (inode uint64, ok bool) {
	number, ok := strings.CutPrefix(d.Target, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	return inode, err == nil
}

// Descriptors returns the open files of a process, in the order of their numbers. It leaves out
// those that are closed meanwhile.
func Descriptors(pid int) ([]Descriptor, error) {
	fds, err := numbers(Path(pid, "fd"))
	if err != nil {
		return nil, err
	}
	slices.Sort(fds)
	list := make([]Descriptor, 0, len(fds))
	for _, fd := range fds {
		d, err := ReadDescriptor(pid, fd)
		switch {
		case err == nil:
			list = append(list, d)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return list, nil
}

// OpenFiles returns how many files this process has open. Since Linux 6.2 that is the size of the
// directory (proc_pid_fd(5)); an older kernel says 0, and the directory is read.
func OpenFiles() (int, error) {
	path := root + "/self/fd"
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return int(info.Size()), nil
	}
	fds, err := numbers(path)
	return len(fds), err
}

// ReadDescriptor returns what one descriptor of a process has open.
func ReadDescriptor(pid, fd int) (Descriptor, error) {
	to, err := os.Readlink(Path(pid, "fd", strconv.Itoa(fd)))
	return Descriptor{fd, to}, gone(err)
}

// Mapped returns the paths of the files that a process has mapped, each once (proc_pid_maps(5)).
func Mapped(pid int) ([]string, error) {
	f, err := os.Open(Path(pid, "maps"))
	if err != nil {
		return nil, gone(err)
	}
	defer f.Close()
	var list []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		_, path, ok := cutFields(lines.Text(), 5) // address perms offset dev inode
		if !ok || !strings.HasPrefix(path, "/") {
			continue
		}
		path = strings.ReplaceAll(strings.TrimSuffix(path, deleted), `\012`, "\n") // the only byte that is escaped
		if len(list) == 0 || list[len(list)-1] != path {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), gone(lines.Err())
}

// PIDOf returns the process behind a pidfd of this process: -1 if it has been reaped, and 0 if the
// descriptor is not a pidfd (proc_pid_fdinfo(5)).
func PIDOf(pidfd int) int {
	data, err := os.ReadFile(fmt.Sprintf("%s/self/fdinfo/%d", root, pidfd))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if text, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
			if err != nil {
				return 0
			}
			return pid
		}
	}
	return 0
}

// cutFields cuts the first n fields off a line, and returns them and the rest without the blanks
// before it.
func cutFields(line string, n int) (fields []string, rest string, ok bool) {
	rest = strings.TrimLeft(line, " ")
	for range n {
		field, after, _ := strings.Cut(rest, " ")
		if field == "" {
			return fields, "", false
		}
		fields, rest = append(fields, field), strings.TrimLeft(after, " ")
	}
	return fields, rest, true
}
