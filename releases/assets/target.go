package assets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/beneath"
	"superctl/proc"
)

const (
	marker  = ".superctl"     // names the app that publishes in the directory
	staging = ".superctl.new" // a file on its way to its name
)

// target is the directory that files are published in, locked against other daemons of the app.
type target struct {
	set    *Set
	root   *beneath.Dir
	record *record
}

// openTarget opens the directory, and makes it if only itself is missing.
func (s *Set) openTarget() (*target, error) {
	record, err := s.openRecord()
	if err != nil {
		return nil, err
	}
	root, err := s.openRoot()
	if err != nil {
		record.close()
		return nil, err
	}
	t := &target{set: s, root: root, record: record}
	if err := s.claim(root); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (s *Set) openRoot() (*beneath.Dir, error) {
	root, err := beneath.Open(s.To)
	if err == nil {
		return root, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, s.failed(err)
	}
	parent, err := beneath.Open(filepath.Dir(s.To))
	if err != nil {
		return nil, s.noParent(err)
	}
	defer parent.Close()
	s.fault("make the directory")
	if root, err = subdirectory(parent, filepath.Base(s.To)); err != nil {
		return nil, s.noParent(err)
	}
	return root, nil
}

func (t *target) close() {
	_ = t.root.Close() // a directory, only read
	t.record.close()
}

// claim marks the directory as the app's.
func (s *Set) claim(root *beneath.Dir) error {
	err := s.belongs(root)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.fault("mark the directory")
	if err := root.Replace(marker, []byte(s.App+"\n"), 0o644); err != nil {
		return s.failed(err)
	}
	return nil
}

// belongs refuses the directory of another app: each would remove the other's files. The error is
// fs.ErrNotExist for a directory without a mark.
func (s *Set) belongs(root *beneath.Dir) error {
	const longestName = 256
	app, err := root.ReadFile(marker, longestName)
	if err != nil {
		return s.failed(err)
	}
	if name := strings.TrimSpace(string(app)); name != s.App {
		return fmt.Errorf("assets.%s: %s has the files of the app %s: write a directory of its own", s.Name, s.To, name)
	}
	return nil
}

// fill gives one directory the files of a release that are in it.
func (t *target) fill(ctx context.Context, src *source, dir string, files []file, replace bool, res *Result) error {
	d, err := t.directory(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := removeStaging(d); err != nil {
		return t.set.failed(err)
	}
	for _, f := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := t.put(src, d, f, replace, res); err != nil {
			return err
		}
	}
	return nil
}

// directory opens a directory in the target, and makes it if it is missing.
func (t *target) directory(dir string) (*beneath.Dir, error) {
	at, err := t.root.SubPath(".")
	for _, name := range strings.Split(dir, "/") {
		if err != nil || name == "." {
			break
		}
		t.set.fault("make a directory")
		next, bad := subdirectory(at, name)
		_ = at.Close() // it was only read
		at, err = next, bad
	}
	if errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("assets.%s: %w: the release has a directory there: remove the file", t.set.Name, err)
	}
	if err != nil {
		return nil, t.set.failed(err)
	}
	return at, nil
}

// subdirectory opens a directory, and makes it like its parent if it is missing. The web server must
// be able to read it, even if an earlier daemon was killed before it could give it its mode.
func subdirectory(parent *beneath.Dir, name string) (*beneath.Dir, error) {
	d, err := parent.OpenOrMkdir(name)
	if err != nil {
		return nil, err
	}
	mine, err := d.Stat()
	above, bad := parent.Stat()
	err = errors.Join(err, bad)
	const others = 0o077
	if err == nil && int(mine.Uid) == os.Geteuid() && mine.Mode&others == 0 && above.Mode&others != 0 {
		err = d.Chmod(fs.FileMode(above.Mode & 0o777))
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// put gives a name the content of the release's file, unless it has that already.
func (t *target) put(src *source, d *beneath.Dir, f file, replace bool, res *Result) error {
	name := path.Base(f.path)
	found, err := d.Lstat(name)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return t.set.failed(err)
	case !missing && found.Mode&unix.S_IFMT == unix.S_IFDIR:
		return fmt.Errorf("assets.%s: %s is a directory, and a file in release %s: rename the file",
			t.set.Name, filepath.Join(t.set.To, f.path), src.release.Name)
	case !missing && found.Dev == f.dev && found.Ino == f.ino:
		return nil
	}
	opened, err := src.open(f)
	if err != nil {
		return err
	}
	defer opened.Close()
	switch {
	case missing:
		res.Added++
		err = t.add(d, opened, name)
	case sameContent(d, name, found, opened, f.size):
		return nil
	default:
		if res.Changed++; replace {
			err = t.replace(d, opened, name)
		}
	}
	if err != nil {
		return t.set.failed(err)
	}
	return nil
}

// add gives the file a name that is free. One that another process has just taken stays.
func (t *target) add(d *beneath.Dir, f *os.File, name string) error {
	linked, err := t.link(d, f, name)
	if !linked && err == nil {
		if err = t.copyTo(d, f); err == nil {
			t.set.fault("name a copy")
			err = errors.Join(ignoreExists(d.Link(staging, name)), removeStaging(d))
		}
	}
	return ignoreExists(err)
}

// replace puts the file in the place of another one. That one itself stays as it is: it may be a
// link to a file of a release, or of another user.
func (t *target) replace(d *beneath.Dir, f *os.File, name string) error {
	linked, err := t.link(d, f, staging)
	if !linked && err == nil {
		err = t.copyTo(d, f)
	}
	if err != nil {
		return err
	}
	t.set.fault("replace a file")
	// The rename does nothing if both names are links to one file; the staged name is then left.
	return errors.Join(d.Rename(staging, name), removeStaging(d))
}

// link makes a hard link to the file. It reports false where only a copy is possible: the other file
// system, a file of another user (fs.protected_hardlinks), or one that the web server could not read.
func (t *target) link(d *beneath.Dir, f *os.File, name string) (bool, error) {
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	const readable = 0o004
	if st.Mode()&readable == 0 {
		return false, nil
	}
	t.set.fault("link a file")
	err = d.LinkFile(f, name)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return false, err
	}
	return false, nil
}

// copyTo copies the file to the staged name, with the time that the web server shows as
// Last-Modified.
func (t *target) copyTo(d *beneath.Dir, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	t.set.fault("copy a file")
	to, err := d.CreateNew(staging, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(to, f)
	}
	if err == nil {
		modified := unix.NsecToTimespec(st.ModTime().UnixNano())
		err = unix.UtimesNanoAt(unix.AT_FDCWD, proc.FDPath(int(to.Fd())), []unix.Timespec{modified, modified}, 0)
	}
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return errors.Join(err, removeStaging(d))
	}
	return nil
}

func removeStaging(d *beneath.Dir) error {
	if err := d.Remove(staging); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func ignoreExists(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// sameContent reports whether a name is a regular file with the content of f.
func sameContent(d *beneath.Dir, name string, found unix.Stat_t, f *os.File, size int64) bool {
	if found.Mode&unix.S_IFMT != unix.S_IFREG || found.Size != size {
		return false
	}
	other, err := d.Open(name)
	if err != nil {
		return false
	}
	defer other.Close()
	const block = 64 << 10
	a, b := make([]byte, block), make([]byte, block)
	for {
		n, err := io.ReadFull(f, a)
		m, bad := io.ReadFull(other, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false
		}
		if err != nil || bad != nil {
			return ended(err) && ended(bad)
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
