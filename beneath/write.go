package beneath

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Make opens the directory name and makes it if it is missing. A new one gets the mode and the owner of d, whoever makes it,
// so that what root makes first is the app's user's to use.
func (d *Dir) Make(name string) (*Dir, error) {
	made, err := d.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return d.Sub(name)
	}
	if err != nil {
		return nil, err
	}
	if err := d.give(made.file, unix.S_ISGID|unix.S_ISVTX|0o777); err != nil {
		return nil, errors.Join(err, made.Close())
	}
	return made, nil
}

// Mkdir makes a directory and opens it. It fails if another one is found in its place.
func (d *Dir) Mkdir(name string, mode fs.FileMode) (*Dir, error) {
	if err := d.check("mkdir", name); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(d.fd(), name, uint32(mode.Perm())); err != nil {
		return nil, d.fail("mkdir", name, err)
	}
	made, err := d.Sub(name)
	if err != nil {
		return nil, err
	}
	st, err := made.Stat()
	entries, bad := made.ReadDir()
	switch err = errors.Join(err, bad); {
	case err != nil:
	case int(st.Uid) != os.Geteuid() || len(entries) > 0: // somebody has put another one there meanwhile
		err = d.fail("mkdir", name, errors.New("it was replaced while it was made"))
	default:
		err = made.file.Chmod(mode) // whatever the umask is
	}
	if err != nil {
		return nil, errors.Join(err, made.Close())
	}
	return made, nil
}

// Chown gives the directory itself to a user.
func (d *Dir) Chown(uid, gid int) error { return d.file.Chown(uid, gid) }

// give gives what was just made in d the owner of d and, of its mode, the bits in mask.
func (d *Dir) give(f *os.File, mask uint32) error {
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

// OpenWritable opens a regular file for reading and writing, and makes it if it is missing, for the owner of d. Nothing is
// truncated. A file that has another name as well, or another owner than d or this process, is refused: writing to it would
// change what is not superctl's.
func (d *Dir) OpenWritable(name string, mode fs.FileMode) (*os.File, error) {
	f, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode)
	if err == nil {
		return f, d.give(f, uint32(mode.Perm()))
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
		return d.fail("stat", name, err)
	}
	dir, err := d.Stat()
	if err != nil {
		return err
	}
	switch {
	case st.Nlink > 1:
		return d.fail("open", name, errors.New("it is a hard link, so that writing to it would change another file: remove it"))
	case st.Uid != dir.Uid && int(st.Uid) != os.Geteuid():
		return d.fail("open", name, fmt.Errorf("it belongs to the user %d, and its directory to %d: remove it", st.Uid, dir.Uid))
	}
	return nil
}

// Replace writes a file and puts it in its place in one step, when it is on the disk. Its owner is that of d.
func (d *Dir) Replace(name string, data []byte, mode fs.FileMode) error {
	if err := d.check("write", name); err != nil {
		return err
	}
	temporary := hiddenName(name)
	f, err := d.open(temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, d.give(f, 0), f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = d.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, d.Remove(temporary))
	}
	return d.Sync()
}

// hiddenName is a temporary name beside name.
func hiddenName(name string) string { return "." + name + "." + rand.Text()[:12] }

// Sync waits until the names in the directory are on the disk.
func (d *Dir) Sync() error { return d.file.Sync() }

// SyncFS waits until all of the file system that the directory is on is on the disk.
func (d *Dir) SyncFS() error { return d.fail("sync", "", unix.Syncfs(d.fd())) }

// Symlink puts a link in its place in one step.
func (d *Dir) Symlink(target, name string) error {
	if err := d.check("symlink", name); err != nil {
		return err
	}
	temporary := hiddenName(name)
	if err := unix.Symlinkat(target, d.fd(), temporary); err != nil {
		return d.fail("symlink", name, err)
	}
	if err := d.Rename(temporary, name); err != nil {
		return errors.Join(err, d.Remove(temporary))
	}
	return d.Sync()
}

// Remove removes a file or a link.
func (d *Dir) Remove(name string) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	return d.fail("remove", name, unix.Unlinkat(d.fd(), name, 0))
}

// Rename renames a name in the directory; what has the new name is replaced.
func (d *Dir) Rename(from, to string) error { return d.rename(from, to, 0) }

// RenameNew renames a name in the directory, to one that nothing has yet: else the error is fs.ErrExist.
func (d *Dir) RenameNew(from, to string) error {
	err := d.rename(from, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot
		if _, there := d.Lstat(to); !errors.Is(there, fs.ErrNotExist) {
			return d.fail("rename", to, unix.EEXIST)
		}
		return d.rename(from, to, 0)
	}
	return err
}

func (d *Dir) rename(from, to string, flags uint) error {
	if err := errors.Join(d.check("rename", from), d.check("rename", to)); err != nil {
		return err
	}
	return d.fail("rename", from, unix.Renameat2(d.fd(), from, d.fd(), to, flags))
}

// Temporary makes a file that has no name, on the file system of the directory: only this process can open it, and nothing is
// left of it.
func (d *Dir) Temporary() (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	})
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(d.path, "temporary")), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return nil, d.fail("make a temporary file in", "", err)
	}
	name := hiddenName("temporary") // a file system without O_TMPFILE, such as NFS
	f, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := d.Remove(name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
