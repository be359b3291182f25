// Package beneath is how superctl works below a directory that a less trusted user can write, such as an app's releases.
//
// Root prunes, installs and pins there, and the app's user may replace any name by a link at any moment. A Dir is therefore a
// descriptor, never a path: each of its methods takes one name in it, follows no link, and opens nothing but what it is asked
// for (a regular file, a directory). A path is looked up once, by Open, which follows a link only if its owner could reach the
// target without root's help.
package beneath

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. Close it after use.
type Dir struct {
	file *os.File
	path string
}

// ErrLink says that a name is a symbolic link where a file or a directory of superctl's own is expected.
var ErrLink = errors.New("it is a symbolic link, which superctl does not follow here: remove it")

// errName says that a name has more than one element.
var errName = errors.New("not a name in a directory")

// Path returns the path by which the directory was opened, for messages and for commands. It may lead elsewhere by now.
func (d *Dir) Path() string { return d.path }

// RealPath returns the path at which the kernel has the directory now, without links on the way.
func (d *Dir) RealPath() (string, error) {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", d.fd()))
	if err == nil && strings.HasSuffix(path, " (deleted)") {
		err = fs.ErrNotExist
	}
	return path, d.fail("readlink", "", err)
}

// Close closes the directory.
func (d *Dir) Close() error { return d.file.Close() }

// Flock locks the directory (flock(2)), until it is closed.
func (d *Dir) Flock(how int) error { return unix.Flock(d.fd(), how) }

func (d *Dir) fd() int { return int(d.file.Fd()) }

// fail describes an error of a name. It is an *fs.PathError, so that errors.Is finds fs.ErrNotExist and its like.
func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ELOOP) {
		err = ErrLink
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// check accepts a name that is one element: nothing with a slash, no "." and no "..".
func (d *Dir) check(op, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return d.fail(op, name, errName)
	}
	return nil
}

// open opens a name without following a link, and without waiting for the other end of a FIFO.
func (d *Dir) open(name string, flags int, mode fs.FileMode) (*os.File, error) {
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, uint32(mode.Perm()))
	})
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) && flags&unix.O_DIRECTORY != 0 && d.isLink(name) {
			err = ErrLink
		}
		return nil, d.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

func retry(do func() (int, error)) (int, error) {
	for {
		if fd, err := do(); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func (d *Dir) isLink(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// Sub opens the directory name in d.
func (d *Dir) Sub(name string) (*Dir, error) {
	f, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{file: f, path: f.Name()}, nil
}

// Walk opens the directory at a path of names, such as "a/b", from d on; "." is d itself.
func (d *Dir) Walk(path string) (*Dir, error) {
	at, err := d.again()
	for _, name := range strings.Split(filepath.Clean(path), "/") {
		if err != nil || name == "." {
			break
		}
		next, bad := at.Sub(name)
		_ = at.Close() // it was only read
		at, err = next, bad
	}
	return at, err
}

// again is another descriptor of the same directory.
func (d *Dir) again() (*Dir, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, d.fail("open", "", err)
	}
	return &Dir{file: os.NewFile(uintptr(fd), d.path), path: d.path}, nil
}

// Open opens a regular file for reading. Anything else, such as a FIFO, is an error that is fs.ErrInvalid.
func (d *Dir) Open(name string) (*os.File, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return d.regular(f, name)
}

// OpenPath opens a regular file at a path of names, such as "a/b", for reading.
func (d *Dir) OpenPath(path string) (*os.File, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	at, err := d.Walk(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	defer at.Close() //nolint:errcheck // it was only read
	return at.Open(name)
}

func (d *Dir) regular(f *os.File, name string) (*os.File, error) {
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", fs.ErrInvalid)
	}
	if err != nil {
		return nil, errors.Join(d.fail("open", name, err), f.Close())
	}
	return f, nil
}

// ReadFile reads a regular file at a path of names. One that is longer than limit bytes is an error.
func (d *Dir) ReadFile(path string, limit int64) ([]byte, error) {
	f, err := d.OpenPath(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // for reading only
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	if err != nil {
		return nil, d.fail("read", path, err)
	}
	return data, nil
}

// Lstat describes a name; of a link it describes the link.
func (d *Dir) Lstat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := d.check("lstat", name); err != nil {
		return st, err
	}
	return st, d.fail("lstat", name, unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW))
}

// Stat describes the directory itself.
func (d *Dir) Stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	return st, d.fail("stat", "", unix.Fstat(d.fd(), &st))
}

// Same reports whether a name is the directory other.
func (d *Dir) Same(name string, other *Dir) bool {
	mine, err := d.Lstat(name)
	theirs, bad := other.Stat()
	return err == nil && bad == nil && mine.Dev == theirs.Dev && mine.Ino == theirs.Ino
}

// ReadDir lists the directory, in the order of the names.
func (d *Dir) ReadDir() ([]fs.DirEntry, error) {
	again, err := d.again() // the position in the directory is a descriptor's
	if err != nil {
		return nil, err
	}
	defer again.Close() //nolint:errcheck // for reading only
	return fs.ReadDir(dirFS{again.file}, ".")
}

// dirFS lets fs.ReadDir sort an open directory.
type dirFS struct{ f *os.File }

func (d dirFS) Open(string) (fs.File, error) { return noClose{d.f}, nil }

type noClose struct{ *os.File }

func (noClose) Close() error { return nil }

// Readlink returns where a link leads.
func (d *Dir) Readlink(name string) (string, error) {
	if err := d.check("readlink", name); err != nil {
		return "", err
	}
	return readlink(d.fd(), name)
}

func readlink(fd int, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, b)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(b[:n]), nil
}

// Root returns the directory as an *os.Root, for trees that only trusted users write. It follows links that stay inside.
func (d *Dir) Root() (*os.Root, error) {
	return os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", d.fd()))
}
