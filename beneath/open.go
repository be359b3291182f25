package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// linksLimit is how many links are followed on the way to a directory, as the kernel's own limit (path_resolution(7)).
const linksLimit = 40

// ErrForeign says that a link of another user leads to what is not that user's.
var ErrForeign = errors.New("a link on the way leads to what is not its owner's, which root does not follow")

// Open opens a directory by its path, which an operator has chosen. For root, a link of another user on the way may only lead to
// what is that user's own: what a user replaces by a link must not lead root to anybody else's files.
func Open(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &walk{path: abs, rest: strings.Split(abs, "/")}
	fd, err := w.toDirectory()
	if err != nil {
		return nil, err
	}
	return &Dir{file: os.NewFile(uintptr(fd), abs), path: abs}, nil
}

// OpenFile opens a regular file by its path, for reading, with the rules of Open; the file itself may be such a link, too.
func OpenFile(path string) (*os.File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &walk{path: abs, rest: strings.Split(abs, "/")}
	at, err := w.toEnd()
	if err != nil {
		return nil, err
	}
	defer unix.Close(at) //nolint:errcheck // it was only a place
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, w.fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG { // looked at before it is opened: a device's driver may act on that
		return nil, w.fail(fmt.Errorf("%w: not a regular file", fs.ErrInvalid))
	}
	// A descriptor of O_PATH is opened by its link in /proc, which cannot be replaced.
	fd, err := retry(func() (int, error) {
		return unix.Open(fmt.Sprintf("/proc/self/fd/%d", at), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return nil, w.fail(err)
	}
	return os.NewFile(uintptr(fd), abs), nil
}

// walk is the look-up of a path, name by name.
type walk struct {
	path   string
	rest   []string // names
	links  int
	theirs bool   // a link of another user was followed
	owner  uint32 // of that link
	link   string // its name
}

func (w *walk) fail(err error) error { return &fs.PathError{Op: "open", Path: w.path, Err: err} }

// toDirectory returns a descriptor of the directory at the end of the path.
func (w *walk) toDirectory() (int, error) {
	at, err := w.toEnd()
	if err != nil {
		return -1, err
	}
	defer unix.Close(at) //nolint:errcheck // it was only a place
	fd, err := retry(func() (int, error) {
		return unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, w.fail(err)
	}
	return fd, nil
}

// toEnd returns a descriptor (O_PATH) of what is at the end of the path.
func (w *walk) toEnd() (int, error) {
	at, err := place(unix.AT_FDCWD, "/")
	for err == nil && len(w.rest) > 0 {
		name := w.rest[0]
		if w.rest = w.rest[1:]; name == "" || name == "." {
			continue
		}
		at, err = w.step(at, name)
	}
	if err == nil {
		err = w.allowed(at)
	}
	if err != nil {
		if at >= 0 {
			_ = unix.Close(at)
		}
		return -1, w.fail(err)
	}
	return at, nil
}

func place(at int, name string) (int, error) {
	return retry(func() (int, error) { return unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
}

// step goes to a name in the directory at, or to where it leads. It takes over at.
func (w *walk) step(at int, name string) (int, error) {
	next, err := place(at, name)
	if err != nil {
		return at, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(next, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		_ = unix.Close(at)
		return next, err
	}
	defer unix.Close(next) //nolint:errcheck // it was only a place
	if w.links++; w.links > linksLimit {
		return at, unix.ELOOP
	}
	if os.Geteuid() == 0 && st.Uid != 0 {
		if w.theirs && w.owner != st.Uid {
			return at, fmt.Errorf("%w: links of the users %d and %d", ErrForeign, w.owner, st.Uid)
		}
		w.theirs, w.owner, w.link = true, st.Uid, name
	}
	target, err := readlink(next, "")
	if err != nil {
		return at, err
	}
	w.rest = append(strings.Split(target, "/"), w.rest...)
	if !strings.HasPrefix(target, "/") {
		return at, nil
	}
	_ = unix.Close(at)
	return place(unix.AT_FDCWD, "/")
}

// allowed refuses the end of a path that was reached by another user's link and is not that user's.
func (w *walk) allowed(at int) error {
	if !w.theirs {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	if st.Uid != w.owner {
		return fmt.Errorf("%w: the link %s is the user %d's, and its target the user %d's (chown -h root the link, or use the target's own path)", ErrForeign, w.link, w.owner, st.Uid)
	}
	return nil
}
