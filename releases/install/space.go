package install

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/releases/bundle"
	"superctl/releases/wheel"
)

// Space that stays free for other programs.
const (
	spareBytes = 32 << 20
	spareFiles = 1000
)

// roomFor returns an error if the directory of releases lacks the space.
func (o *Options) roomFor(bytes int64, what string) error { return o.room(bytes, 0, what) }

func (o *Options) room(bytes, files int64, what string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(o.Store.Dir, &st); err != nil {
		return fmt.Errorf("check the free space in %s: %w", o.Store.Dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if needed := bytes + spareBytes; bytes > 0 && needed > free {
		return fmt.Errorf("not enough space for %s in %s: %s are needed, %s are free; "+
			"superctl prune removes old releases",
			what, o.Store.Dir, sizeText(needed), sizeText(free))
	}
	needed := files + spareFiles
	if files > 0 && st.Files > 0 && needed > int64(st.Ffree) { // some file systems do not count inodes
		return fmt.Errorf("not enough space for %s in %s: %d files (inodes) are needed, %d are free; "+
			"superctl prune removes old releases",
			what, o.Store.Dir, needed, st.Ffree)
	}
	return nil
}

// reserve returns an error if writing to a file would leave too little space for other programs.
func (o *Options) reserve(to *os.File, bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(to.Fd()), &st); err != nil {
		return fmt.Errorf("check the free space in %s: %w", o.Store.Dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; bytes+spareBytes > free {
		return fmt.Errorf("not enough space for the bundle in %s: %s stay free for other programs, and %s are free; "+
			"superctl prune removes old releases", o.Store.Dir, sizeText(spareBytes), sizeText(free))
	}
	return nil
}

// bytesPerFile is a low estimate of the average file size in wheels, before they are inspected.
const bytesPerFile = 4 << 10

// space checks that there is room for the release before anything is written.
func (in *install) space(context.Context) (string, error) {
	m := in.Manifest
	bytes, files := int64(0), int64(len(m.Members))
	for i := range m.Members {
		e := &m.Members[i]
		bytes += e.Size
		switch {
		case path.Ext(e.Path) == ".py":
			bytes += e.Size // byte-code
			files++
		case path.Dir(e.Path) == bundle.Wheels:
			bytes += e.Unpacked + e.Unpacked/2 // byte-code: half of a typical wheel is Python
			files += e.Unpacked / bytesPerFile
		}
	}
	if err := in.room(bytes, files, "the release"); err != nil {
		return "", err
	}
	return "room for " + sizeText(bytes), nil
}

// measure inspects the unpacked wheels and checks the space again: a manifest may be wrong.
func (in *install) measure(names []string) error {
	claimed := make(map[string]int64)
	for i := range in.Manifest.Members {
		e := &in.Manifest.Members[i]
		claimed[path.Base(e.Path)] = e.Unpacked
	}
	var bytes, files int64
	for _, name := range names {
		err := in.withWheel(name, func(f *os.File, size int64) error {
			b, n, err := wheel.Measure(f, size)
			if err == nil && claimed[name] > 0 && b > claimed[name] {
				err = fmt.Errorf("it contains %d bytes, and the manifest says %d", b, claimed[name])
			}
			bytes, files = bytes+b, files+int64(n)
			if bytes < 0 {
				err = fmt.Errorf("the total size of its files is too large")
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("wheel %s: %w", name, err)
		}
	}
	return in.room(bytes, files*2, "the content of the wheels")
}

// wheels returns the names of the unpacked wheels.
func (in *install) wheels() ([]string, error) {
	entries, err := fs.ReadDir(in.work.FS(), wheelsDir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".whl") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (in *install) withWheel(name string, do func(f *os.File, size int64) error) error {
	f, err := in.work.Open(path.Join(wheelsDir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return do(f, st.Size())
}

const (
	wheelsDir = ".superctl/wheels" // while the release is built
)
