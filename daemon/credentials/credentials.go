// Package credentials keeps copies of a unit's credentials (systemd.exec(5), CREDENTIALS) for the programs of an app.
//
// systemd's own directory is the unit's user's alone, and it is made anew by each start of the unit: a worker that outlives the daemon
// would be left with a path that is gone, and a worker of another user can never read it. So each user of the app's has a copy, in
// memory as the original is, which stays as it is for as long as a generation was started with it.
package credentials

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Variable is how a program finds the credentials of its unit (systemd.exec(5)).
const Variable = "CREDENTIALS_DIRECTORY"

// Store is the copies of one app. Each is a directory UID.N, which that user alone can read; a higher N is newer.
type Store struct {
	Dir string // in a file system that is in memory
}

// sizeLimit bounds a credential; systemd's limit for all of a unit's together is 1 MB.
const sizeLimit = 1 << 20

// Copy is a copy of the credentials in source, as they are now, for a user: the newest that there is when it is the same.
func (s Store) Copy(source string, uid, gid int) (dir string, err error) {
	wanted, err := read(source)
	if err != nil {
		return "", fmt.Errorf("the unit's credentials: %w", err)
	}
	if err := s.own(); err != nil {
		return "", err
	}
	newest, n := s.newest(uid)
	if newest != "" {
		if have, err := read(newest); err == nil && same(have, wanted) {
			return newest, nil
		}
	}
	dir = filepath.Join(s.Dir, fmt.Sprintf("%d.%d", uid, n+1))
	if err := write(filepath.Join(s.Dir, "."+filepath.Base(dir)), dir, wanted, uid, gid); err != nil {
		return "", fmt.Errorf("copy of the unit's credentials: %w", err)
	}
	return dir, nil
}

// own makes the directory of the copies. What somebody else has made there is refused: it is among the sockets of other apps.
func (s Store) own() error {
	if err := os.Mkdir(s.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // each user finds the own copy in it
		return fmt.Errorf("copies of the unit's credentials: %w", err)
	}
	if !s.belongsTo(os.Geteuid()) {
		return fmt.Errorf("copies of the unit's credentials: %s belongs to somebody else, or others may write to it: nothing is put there; move it away", s.Dir)
	}
	return nil
}

// belongsTo tells whether the directory of the copies is there, is no link, and can be changed by one of the users only.
func (s Store) belongsTo(users ...int) bool {
	var st unix.Stat_t
	return unix.Lstat(s.Dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o022 == 0 && slices.Contains(users, int(st.Uid))
}

// Newest is the newest copy of a user, made by a daemon of that user or of root; or "".
func (s Store) Newest(uid int) string {
	if !s.belongsTo(0, uid) {
		return ""
	}
	dir, _ := s.newest(uid)
	return dir
}

func (s Store) newest(uid int) (dir string, n int) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return "", 0
	}
	for _, e := range entries {
		of, number, _ := strings.Cut(e.Name(), ".")
		if k, err := strconv.Atoi(number); err == nil && of == strconv.Itoa(uid) && k > n {
			dir, n = filepath.Join(s.Dir, e.Name()), k
		}
	}
	return dir, n
}

// Keep removes all copies but these.
func (s Store) Keep(dirs []string) error {
	if !s.belongsTo(os.Geteuid()) {
		return nil // there is none of ours
	}
	entries, err := os.ReadDir(s.Dir)
	for _, e := range entries {
		if path := filepath.Join(s.Dir, e.Name()); !slices.Contains(dirs, path) {
			err = errors.Join(err, remove(path))
		}
	}
	return err
}

// Remove removes all copies.
func (s Store) Remove() error {
	if !s.belongsTo(os.Geteuid()) {
		return nil
	}
	return errors.Join(s.Keep(nil), os.Remove(s.Dir))
}

// InMemory tells whether what is written to the directory of a path stays off the disks.
func InMemory(path string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return false
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
}

// read reads all credentials of a directory.
func read(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte, len(entries))
	for _, e := range entries {
		data, err := readOne(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all[e.Name()] = data
	}
	return all, nil
}

// readOne reads a file and nothing else. A copy is in the hands of its user, who may be another than the daemon's.
func readOne(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // for reading only
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > sizeLimit {
		return nil, fmt.Errorf("%s is no file, or larger than %d bytes", path, sizeLimit)
	}
	return io.ReadAll(io.LimitReader(f, sizeLimit))
}

func same(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for name, data := range a {
		if other, ok := b[name]; !ok || !bytes.Equal(data, other) {
			return false
		}
	}
	return true
}

// write writes a copy under a name that nobody knows, gives it to its user and renames it.
func write(partial, dir string, all map[string][]byte, uid, gid int) error {
	if err := remove(partial); err != nil { // a crash has left it
		return err
	}
	if err := os.Mkdir(partial, 0o700); err != nil {
		return err
	}
	err := fill(partial, all, uid, gid)
	if err == nil {
		err = os.Rename(partial, dir)
	}
	if err != nil {
		return errors.Join(err, remove(partial))
	}
	return nil
}

func fill(dir string, all map[string][]byte, uid, gid int) error {
	for name, data := range all {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o400); err != nil {
			return err
		}
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o500); err != nil { //nolint:gosec // a directory that is searched
		return err
	}
	return os.Chown(dir, uid, gid)
}

// remove removes a copy. Its user may not write to it either, unless that is root.
func remove(path string) error {
	err := os.Chmod(path, 0o700) //nolint:gosec // a directory that is about to be removed
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(path))
}
