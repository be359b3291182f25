package assets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// source is the directory of static files of one release.
type source struct {
	set     *Set
	release Release
	root    *os.Root // of the release
}

// file is a file of a release.
type file struct {
	path     string // below the set's From
	dev, ino uint64
	size     int64
}

func (s *Set) openSource(r Release) (*source, error) {
	dir, err := beneath.Open(r.Path)
	if err != nil {
		return nil, fmt.Errorf("assets.%s: %w", s.Name, err)
	}
	defer dir.Close()
	root, err := dir.Root()
	if err != nil {
		return nil, fmt.Errorf("assets.%s: %w", s.Name, err)
	}
	return &source{set: s, release: r, root: root}, nil
}

func (src *source) close() { _ = src.root.Close() } // it was only read

// check returns why the release has no directory of static files of its own.
func (src *source) check() error {
	st, err := src.root.Stat(src.set.From)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &MissingError{src.set, src.release}
	case err != nil:
		return src.failed(src.set.From, err)
	case !st.IsDir():
		return src.failed(src.set.From, unix.ENOTDIR)
	}
	return nil
}

// list returns the files to publish. A link that stays inside the release counts as the file that
// it leads to.
func (src *source) list(ctx context.Context) (files []file, err error) {
	if err := src.check(); err != nil {
		return nil, err
	}
	err = src.walk(ctx, func(name, below string) error {
		f, err := src.describe(name, below)
		files = append(files, f)
		return err
	})
	return files, err
}

// walk visits the files to publish: name is a path in the release, below one in the directory.
func (src *source) walk(ctx context.Context, visit func(name, below string) error) error {
	return fs.WalkDir(src.root.FS(), src.set.From, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return src.failed(name, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		below := strings.TrimPrefix(name, src.set.From+"/")
		switch {
		case name == src.set.From:
			return nil
		case staysInRelease(below) && d.IsDir():
			return fs.SkipDir
		case staysInRelease(below) || d.IsDir():
			return nil
		}
		return visit(name, below)
	})
}

// MissingError is the error for a release without the directory.
type MissingError struct {
	set     *Set
	release Release
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("assets.%s: release %s has no directory %s: make it when the release is built, or in a before hook "+
		"(Django: manage.py collectstatic)", e.set.Name, e.release.Name, e.set.From)
}

// describe looks at one file, following links inside the release.
func (src *source) describe(name, below string) (file, error) {
	st, err := src.root.Stat(name)
	switch {
	case err != nil:
		return file{}, src.failed(name, err)
	case st.IsDir():
		return file{}, src.failed(name, errors.New("it is a link to a directory: copy the directory into the release"))
	case !st.Mode().IsRegular():
		return file{}, src.failed(name, errors.New("it is not a regular file: remove it from the release"))
	}
	sys, _ := st.Sys().(*syscall.Stat_t)
	return file{path: below, dev: sys.Dev, ino: sys.Ino, size: st.Size()}, nil
}

// open opens a file for reading, even if another process has put a FIFO in its place.
func (src *source) open(f file) (*os.File, error) {
	name := path.Join(src.set.From, f.path)
	opened, err := src.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, src.failed(name, err)
	}
	if st, err := opened.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(src.failed(name, errors.New("it is not a regular file")), err, opened.Close())
	}
	return opened, nil
}

func (src *source) failed(name string, err error) error {
	if pathErr := new(fs.PathError); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if strings.Contains(err.Error(), "escapes") {
		return fmt.Errorf("assets.%s: %s of release %s leads out of the release, to files that all releases share: "+
			"each release needs its own", src.set.Name, name, src.release.Name)
	}
	return fmt.Errorf("assets.%s: %s of release %s: %w", src.set.Name, name, src.release.Name, err)
}
