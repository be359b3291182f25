// Package beneath operates safely below a directory that a less trusted user can write, such as an
// app's releases.
//
// Root prunes, installs and pins there, and the app's user may replace any name by a link at any
// moment. A Dir is therefore a descriptor, never a path. Each method takes one name in the
// directory, follows no link, and opens only the kind of file it is asked for (a regular file or a
// directory). Open resolves a path once; it follows a link only if the link's owner could reach the
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

	"superctl/proc"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. Close it after use.
type Dir struct {
	file *os.File
	path string
}

// errLink is the error for a symbolic link where superctl expects a file or a directory of its own.
var errLink = errors.New("it is a symbolic link, which superctl does not follow here: remove it")

// errName is the error for a name with more than one element.
var errName = errors.New("not a name in a directory")

// Path returns the path by which the directory was opened, for messages and commands. It may no
// longer lead to this directory.
func (d *Dir) Path() string { return d.path }

// RealPath returns the directory's current path, with all links resolved by the kernel.
func (d *Dir) RealPath() (string, error) {
	path, err := os.Readlink(proc.FDPath(d.fd()))
	if err == nil && strings.HasSuffix(path, " (deleted)") {
		err = fs.ErrNotExist
	}
	return path, d.pathError("readlink", "", err)
}

// Close closes the directory.
func (d *Dir) Close() error { return d.file.Close() }

// Flock locks the directory (flock(2)) until Close.
func (d *Dir) Flock(how int) error { return unix.Flock(d.fd(), how) }

func (d *Dir) fd() int { return int(d.file.Fd()) }

// pathError wraps an error about a name as an *fs.PathError, so that errors.Is finds fs.ErrNotExist
// and the like.
func (d *Dir) pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ELOOP) {
		err = errLink
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// checkName refuses a name that is not a single path element: a slash, "." and "..".
func (d *Dir) checkName(op, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return d.pathError(op, name, errName)
	}
	return nil
}

// open opens a name without following a link, and without waiting for the other end of a FIFO.
func (d *Dir) open(name string, flags int, mode fs.FileMode) (*os.File, error) {
	if err := d.checkName("open", name); err != nil {
		return nil, err
	}
	fd, err := retry(func() (int, error) {
		const safe = unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
		return unix.Openat(d.fd(), name, flags|safe, uint32(mode.Perm()))
	})
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) && flags&unix.O_DIRECTORY != 0 && d.isLink(name) {
			err = errLink
		}
		return nil, d.pathError("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// retry repeats a system call that a signal interrupted.
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

// SubPath opens the directory at a relative path such as "a/b"; "." is d itself.
func (d *Dir) SubPath(path string) (*Dir, error) {
	at, err := d.reopen()
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

// reopen opens a second descriptor of the same directory.
func (d *Dir) reopen() (*Dir, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, d.pathError("open", "", err)
	}
	return &Dir{file: os.NewFile(uintptr(fd), d.path), path: d.path}, nil
}

// Open opens a regular file for reading. For any other file, such as a FIFO, the error is
// fs.ErrInvalid.
func (d *Dir) Open(name string) (*os.File, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return d.regular(f, name)
}

// OpenPath opens the regular file at a relative path such as "a/b" for reading.
func (d *Dir) OpenPath(path string) (*os.File, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	at, err := d.SubPath(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return at.Open(name)
}

// regular returns f if it is a regular file, and closes it otherwise.
func (d *Dir) regular(f *os.File, name string) (*os.File, error) {
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", fs.ErrInvalid)
	}
	if err != nil {
		return nil, errors.Join(d.pathError("open", name, err), f.Close())
	}
	return f, nil
}

// ReadFile reads the regular file at a relative path. A file longer than limit bytes is an error.
func (d *Dir) ReadFile(path string, limit int64) ([]byte, error) {
	f, err := d.OpenPath(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	if err != nil {
		return nil, d.pathError("read", path, err)
	}
	return data, nil
}

// Lstat describes a name without following a link.
func (d *Dir) Lstat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := d.checkName("lstat", name); err != nil {
		return st, err
	}
	return st, d.pathError("lstat", name, unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW))
}

// Stat describes the directory itself.
func (d *Dir) Stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	return st, d.pathError("stat", "", unix.Fstat(d.fd(), &st))
}

// Same reports whether a name is the directory other.
func (d *Dir) Same(name string, other *Dir) bool {
	mine, err := d.Lstat(name)
	theirs, bad := other.Stat()
	return err == nil && bad == nil && mine.Dev == theirs.Dev && mine.Ino == theirs.Ino
}

// ReadDir lists the directory in the order of the names.
func (d *Dir) ReadDir() ([]fs.DirEntry, error) {
	again, err := d.reopen() // the read position belongs to the descriptor
	if err != nil {
		return nil, err
	}
	defer again.Close()
	return fs.ReadDir(dirFS{again.file}, ".")
}

// dirFS lets fs.ReadDir sort an open directory.
type dirFS struct{ f *os.File }

func (d dirFS) Open(string) (fs.File, error) { return noClose{d.f}, nil }

type noClose struct{ *os.File }

func (noClose) Close() error { return nil }

// Readlink returns the target of a link.
func (d *Dir) Readlink(name string) (string, error) {
	if err := d.checkName("readlink", name); err != nil {
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

// Root returns the directory as an *os.Root, for trees that only trusted users write. It follows
// links that stay inside the tree.
func (d *Dir) Root() (*os.Root, error) {
	return os.OpenRoot(proc.FDPath(d.fd()))
}
