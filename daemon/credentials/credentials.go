// Package credentials keeps copies of a unit's credentials (systemd.exec(5), CREDENTIALS), and of the
// values that secrets.command prints, for the app's workers.
//
// systemd's own directory is readable by the unit's user only, and each start of the unit recreates
// it: a worker that outlives the daemon would hold a stale path, and a worker with another user
// could never read it. So each user of the app gets a copy, in memory like the original, which
// stays unchanged as long as a generation that was started with it runs.
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

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Variable is how a program finds the credentials of its unit (systemd.exec(5)).
const Variable = "CREDENTIALS_DIRECTORY"

// Store holds the copies of one app. Each copy is a directory UID.N that only that user can read; a
// higher N is newer. The link UID.live leads to the one that the live release uses.
type Store struct {
	Dir string // on an in-memory file system
}

// sizeLimit bounds one credential; systemd limits all credentials of a unit to 1 MB together.
const sizeLimit = 1 << 20

// Copy copies the current credentials in source for a user, and returns the directory. If the
// newest copy is identical, it returns that one.
func (s Store) Copy(source string, uid, gid int) (dir string, err error) {
	wanted, err := read(source)
	if err != nil {
		return "", fmt.Errorf("read the unit's credentials: %w", err)
	}
	if dir, err = s.Keep(wanted, uid, gid); err != nil {
		return "", fmt.Errorf("copy the unit's credentials: %w", err)
	}
	return dir, nil
}

// Keep writes files for a user, by their names, and returns their directory. If the newest one is
// identical, it returns that one.
func (s Store) Keep(wanted map[string][]byte, uid, gid int) (dir string, err error) {
	if err := s.makeDir(); err != nil {
		return "", err
	}
	newest, n := s.newest(uid)
	if newest != "" {
		if have, err := read(newest); err == nil && same(have, wanted) {
			return newest, nil
		}
	}
	dir = filepath.Join(s.Dir, fmt.Sprintf("%d.%d", uid, n+1))
	return dir, write(filepath.Join(s.Dir, "."+filepath.Base(dir)), dir, wanted, uid, gid)
}

// Files returns the files of a copy by their names.
func Files(dir string) (map[string][]byte, error) { return read(dir) }

// makeDir creates the directory of the copies. It refuses a directory of another user: the parent
// also holds the sockets of other apps.
func (s Store) makeDir() error {
	err := os.Mkdir(s.Dir, 0o755) // each user must reach the own copy in it
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if !s.ownedBy(os.Geteuid()) {
		return fmt.Errorf("%s belongs to another user or is writable by others: move it away", s.Dir)
	}
	return nil
}

// ownedBy reports whether the store is a directory, not a link, that belongs to one of the users
// and that only its owner can change.
func (s Store) ownedBy(users ...int) bool {
	var st unix.Stat_t
	if unix.Lstat(s.Dir, &st) != nil {
		return false
	}
	ownerOnly := st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o022 == 0
	return ownerOnly && slices.Contains(users, int(st.Uid))
}

// Newest returns the newest copy for a user, made by a daemon of that user or of root; "" if there
// is none.
func (s Store) Newest(uid int) string {
	if !s.ownedBy(0, uid) {
		return ""
	}
	dir, _ := s.newest(uid)
	return dir
}

// liveName is the name of the link to the copy that the live release uses.
const liveName = "%d.live"

// MarkLive notes which of the copies the live release uses: one for each user. It ignores directories that
// are not copies.
func (s Store) MarkLive(dirs []string) error {
	for _, dir := range dirs {
		uid, _, _ := strings.Cut(filepath.Base(dir), ".")
		if n, err := strconv.Atoi(uid); filepath.Dir(dir) == s.Dir && err == nil {
			link := filepath.Join(s.Dir, fmt.Sprintf(liveName, n))
			if err := renameio.Symlink(filepath.Base(dir), link); err != nil {
				return fmt.Errorf("note which copy is live: %w", err)
			}
		}
	}
	return nil
}

// Live returns the copy that the live release uses for a user. It returns the newest copy if that is not known,
// as before the first cutover, and "" if there is none.
func (s Store) Live(uid int) string {
	newest := s.Newest(uid)
	if newest == "" {
		return ""
	}
	target, err := os.Readlink(filepath.Join(s.Dir, fmt.Sprintf(liveName, uid)))
	if err != nil {
		return newest
	}
	dir := filepath.Join(s.Dir, filepath.Base(target))
	if _, err := os.Lstat(dir); err != nil {
		return newest
	}
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

// RemoveExcept removes all copies except the given ones.
func (s Store) RemoveExcept(dirs []string) error {
	if !s.ownedBy(os.Geteuid()) {
		return nil // none of the copies is ours
	}
	entries, err := os.ReadDir(s.Dir)
	for _, e := range entries {
		path := filepath.Join(s.Dir, e.Name())
		kept := path
		if target, notLink := os.Readlink(path); notLink == nil {
			kept = filepath.Join(s.Dir, filepath.Base(target))
		}
		if !slices.Contains(dirs, kept) {
			err = errors.Join(err, remove(path))
		}
	}
	return err
}

// Remove removes all copies.
func (s Store) Remove() error {
	if !s.ownedBy(os.Geteuid()) {
		return nil
	}
	return errors.Join(s.RemoveExcept(nil), os.Remove(s.Dir))
}

// InMemory reports whether a path is on an in-memory file system.
func InMemory(path string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return false
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
}

// read returns all credentials in a directory.
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

// readOne reads a regular file without following a link. A copy belongs to its user, who may be
// another than the daemon's.
func readOne(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > sizeLimit {
		return nil, fmt.Errorf("%s is not a regular file, or larger than %d bytes", path, sizeLimit)
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

// write writes a copy under a temporary name, gives it to its user and renames it.
func write(partial, dir string, all map[string][]byte, uid, gid int) error {
	if err := remove(partial); err != nil { // left by a crash
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
	if err := os.Chmod(dir, 0o500); err != nil { // a directory that is searched
		return err
	}
	return os.Chown(dir, uid, gid)
}

// remove removes a copy, or a link to one. A copy is read-only, even for its user.
func remove(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && st.IsDir() {
		err = os.Chmod(path, 0o700)
	}
	return errors.Join(err, os.RemoveAll(path))
}
