package beneath

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"superctl/proc"
)

// OpenOrMkdir opens the directory name, and creates it if it is missing. A new directory gets the
// mode and the owner of d, even if root creates it, so that the app's user can use it.
func (d *Dir) OpenOrMkdir(name string) (*Dir, error) {
	made, err := d.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return d.Sub(name)
	}
	if err != nil {
		return nil, err
	}
	if err := d.copyOwner(made.file, unix.S_ISGID|unix.S_ISVTX|0o777); err != nil {
		return nil, errors.Join(err, made.Close())
	}
	return made, nil
}

// Mkdir creates a directory and opens it. It fails if another directory is found in its place.
func (d *Dir) Mkdir(name string, mode fs.FileMode) (*Dir, error) {
	if err := d.checkName("mkdir", name); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(d.fd(), name, uint32(mode.Perm())); err != nil {
		return nil, d.pathError("mkdir", name, err)
	}
	made, err := d.Sub(name)
	if err != nil {
		return nil, err
	}
	st, err := made.Stat()
	entries, bad := made.ReadDir()
	switch err = errors.Join(err, bad); {
	case err != nil:
	case int(st.Uid) != os.Geteuid() || len(entries) > 0: // another process replaced it
		err = d.pathError("mkdir", name, errors.New("it was replaced while being created"))
	default:
		err = made.file.Chmod(mode) // independent of the umask
	}
	if err != nil {
		return nil, errors.Join(err, made.Close())
	}
	return made, nil
}

// Chown changes the owner of the directory itself.
func (d *Dir) Chown(uid, gid int) error { return d.file.Chown(uid, gid) }

// copyOwner sets the owner of a new file in d to that of d, and its mode to those bits of d's that
// are in mask.
func (d *Dir) copyOwner(f *os.File, mask uint32) error {
	st, err := d.Stat()
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return unix.Fchmod(int(f.Fd()), st.Mode&mask)
}

// OpenWritable opens a regular file for reading and writing without truncating it, and creates it
// for the owner of d if it is missing. It refuses a file with more than one hard link, or with
// another owner than d or this process: writing to it would change a file that is not superctl's.
func (d *Dir) OpenWritable(name string, mode fs.FileMode) (*os.File, error) {
	f, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode)
	if err == nil {
		return f, d.copyOwner(f, uint32(mode.Perm()))
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if f, err = d.open(name, unix.O_RDWR, 0); err != nil {
		return nil, err
	}
	if f, err = d.regular(f, name); err != nil {
		return nil, err
	}
	if err := d.writable(f, name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *Dir) writable(f *os.File, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return d.pathError("stat", name, err)
	}
	dir, err := d.Stat()
	if err != nil {
		return err
	}
	switch {
	case st.Nlink > 1:
		return d.pathError(
			"open", name, errors.New("it is a hard link, and writing to it would change another file: remove it"),
		)
	case st.Uid != dir.Uid && int(st.Uid) != os.Geteuid():
		return d.pathError("open", name, fmt.Errorf(
			"it belongs to user %d, and its directory to user %d: remove it", st.Uid, dir.Uid))
	}
	return nil
}

// Replace writes a file atomically: the name changes only once the data is on the disk. The file
// gets the owner of d.
func (d *Dir) Replace(name string, data []byte, mode fs.FileMode) error {
	if err := d.checkName("write", name); err != nil {
		return err
	}
	temporary := temporaryName(name)
	f, err := d.open(temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, d.copyOwner(f, 0), f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = d.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, d.Remove(temporary))
	}
	return d.Sync()
}

// temporaryName returns a temporary name for a file that will be renamed to name.
func temporaryName(name string) string { return "." + name + "." + rand.Text()[:12] }

// Sync flushes the directory's entries to the disk.
func (d *Dir) Sync() error { return d.file.Sync() }

// SyncFS flushes the file system that contains the directory.
func (d *Dir) SyncFS() error { return d.pathError("sync", "", unix.Syncfs(d.fd())) }

// Symlink creates a link, and replaces an existing one atomically.
func (d *Dir) Symlink(target, name string) error {
	if err := d.checkName("symlink", name); err != nil {
		return err
	}
	temporary := temporaryName(name)
	if err := unix.Symlinkat(target, d.fd(), temporary); err != nil {
		return d.pathError("symlink", name, err)
	}
	if err := d.Rename(temporary, name); err != nil {
		return errors.Join(err, d.Remove(temporary))
	}
	return d.Sync()
}

// Remove removes a file or a link.
func (d *Dir) Remove(name string) error {
	if err := d.checkName("remove", name); err != nil {
		return err
	}
	return d.pathError("remove", name, unix.Unlinkat(d.fd(), name, 0))
}

// Link gives a file of the directory another name in it. It follows no link.
func (d *Dir) Link(from, to string) error {
	if err := errors.Join(d.checkName("link", from), d.checkName("link", to)); err != nil {
		return err
	}
	return d.pathError("link", to, unix.Linkat(d.fd(), from, d.fd(), to, 0))
}

// Rename renames a name within the directory and replaces the target.
func (d *Dir) Rename(from, to string) error { return d.rename(from, to, 0) }

// RenameNew renames a name within the directory. The error is fs.ErrExist if the target exists.
func (d *Dir) RenameNew(from, to string) error {
	err := d.rename(from, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system does not support it
		if _, there := d.Lstat(to); !errors.Is(there, fs.ErrNotExist) {
			return d.pathError("rename", to, unix.EEXIST)
		}
		return d.rename(from, to, 0)
	}
	return err
}

func (d *Dir) rename(from, to string, flags uint) error {
	if err := errors.Join(d.checkName("rename", from), d.checkName("rename", to)); err != nil {
		return err
	}
	return d.pathError("rename", from, unix.Renameat2(d.fd(), from, d.fd(), to, flags))
}

// CreateTemp creates a file without a name on the file system of the directory. Only this process
// can open it, and the kernel removes it on close.
func (d *Dir) CreateTemp() (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	})
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(d.path, "temporary")), nil
	}
	if !noTmpfile(err) {
		return nil, d.pathError("create a temporary file in", "", err)
	}
	name := temporaryName("temporary")
	f, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := d.Remove(name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// noTmpfile reports whether the file system or the kernel lacks O_TMPFILE, as NFS does.
func noTmpfile(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) ||
		errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
}

// LinkFile gives an open file a name in the directory. The error is fs.ErrExist if the name exists.
func (d *Dir) LinkFile(f *os.File, name string) error {
	if err := d.checkName("link", name); err != nil {
		return err
	}
	// The link in /proc leads to the open file itself, whatever its path leads to by now.
	from := proc.FDPath(int(f.Fd()))
	return d.pathError("link", name, unix.Linkat(unix.AT_FDCWD, from, d.fd(), name, unix.AT_SYMLINK_FOLLOW))
}

// CreateNew creates a file for writing. The error is fs.ErrExist if the name exists.
func (d *Dir) CreateNew(name string, mode fs.FileMode) (*os.File, error) {
	f, err := d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.copyOwner(f, 0), f.Chmod(mode)); err != nil {
		return nil, errors.Join(err, f.Close(), d.Remove(name))
	}
	return f, nil
}

// Chmod changes the mode of the directory itself.
func (d *Dir) Chmod(mode fs.FileMode) error { return d.file.Chmod(mode) }

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	if err := d.checkName("remove", name); err != nil {
		return err
	}
	return d.pathError("remove", name, unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR))
}
