package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"superctl/proc"

	"golang.org/x/sys/unix"
)

// linksLimit is how many links Open follows, the same as the kernel's own limit
// (path_resolution(7)).
const linksLimit = 40

// ErrForeign is the error for a link that leads to a file its owner does not own.
var ErrForeign = errors.New("root does not follow a link to a target that the link's owner does not own")

// Open opens a directory by its path, which an operator has chosen. For root, a link that belongs
// to another user may only lead to a directory of the same user: a user must not direct root to
// other users' files by placing a link.
func Open(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &resolver{path: abs, rest: strings.Split(abs, "/")}
	fd, err := w.resolveDirectory()
	if err != nil {
		return nil, err
	}
	return &Dir{file: os.NewFile(uintptr(fd), abs), path: abs}, nil
}

// OpenFile opens a regular file for reading by its path, under the rules of Open. The last element
// may be a link, too.
func OpenFile(path string) (*os.File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &resolver{path: abs, rest: strings.Split(abs, "/")}
	at, err := w.resolve()
	if err != nil {
		return nil, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, w.fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG { // checked before it is opened: opening a device can have side effects
		return nil, w.fail(fmt.Errorf("%w: not a regular file", fs.ErrInvalid))
	}
	// An O_PATH descriptor is reopened through its link in /proc, which cannot be replaced.
	fd, err := retry(func() (int, error) {
		return unix.Open(proc.FDPath(at), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return nil, w.fail(err)
	}
	return os.NewFile(uintptr(fd), abs), nil
}

// resolver resolves a path name by name.
type resolver struct {
	path    string
	rest    []string // the names still to resolve
	links   int      // followed so far
	foreign bool     // a link of another user was followed
	owner   uint32   // of that link
	link    string   // that link's name
}

func (w *resolver) fail(err error) error { return &fs.PathError{Op: "open", Path: w.path, Err: err} }

// resolveDirectory resolves the path and returns a descriptor of the directory.
func (w *resolver) resolveDirectory() (int, error) {
	at, err := w.resolve()
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	fd, err := retry(func() (int, error) {
		return unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, w.fail(err)
	}
	return fd, nil
}

// resolve resolves the path and returns an O_PATH descriptor of its target.
func (w *resolver) resolve() (int, error) {
	at, err := openPath(unix.AT_FDCWD, "/")
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

// openPath opens a name with O_PATH.
func openPath(at int, name string) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// step resolves one name in the directory at, and closes at unless it returns it.
func (w *resolver) step(at int, name string) (int, error) {
	next, err := openPath(at, name)
	if err != nil {
		return at, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(next, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		_ = unix.Close(at)
		return next, err
	}
	defer unix.Close(next)
	if w.links++; w.links > linksLimit {
		return at, unix.ELOOP
	}
	if os.Geteuid() == 0 && st.Uid != 0 {
		if w.foreign && w.owner != st.Uid {
			return at, fmt.Errorf("%w: links of the users %d and %d", ErrForeign, w.owner, st.Uid)
		}
		w.foreign, w.owner, w.link = true, st.Uid, name
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
	return openPath(unix.AT_FDCWD, "/")
}

// allowed refuses a target that was reached by another user's link and belongs to a third user.
func (w *resolver) allowed(at int) error {
	if !w.foreign {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	if st.Uid != w.owner {
		const hint = "chown -h root the link, or use the target's own path"
		return fmt.Errorf("%w: the link %s belongs to user %d, its target to user %d (%s)",
			ErrForeign, w.link, w.owner, st.Uid, hint)
	}
	return nil
}
