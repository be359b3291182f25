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

// What stays free for others.
const (
	spareBytes = 32 << 20
	spareFiles = 1000
)

// roomFor refuses what there is no room for among the releases.
func (o *Options) roomFor(bytes int64, what string) error { return o.room(bytes, 0, what) }

func (o *Options) room(bytes, files int64, what string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(o.Store.Dir, &st); err != nil {
		return fmt.Errorf("look how much room there is in %s: %w", o.Store.Dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if needed := bytes + spareBytes; bytes > 0 && needed > free {
		return fmt.Errorf("there is no room for %s in %s: %s are needed, %s are free; superctl prune removes old releases", what, o.Store.Dir, Megabytes(needed), Megabytes(free))
	}
	if needed := files + spareFiles; files > 0 && st.Files > 0 && needed > int64(st.Ffree) { // some file systems do not count them
		return fmt.Errorf("there is no room for %s in %s: %d files (inodes) are needed, %d are free; superctl prune removes old releases", what, o.Store.Dir, needed, st.Ffree)
	}
	return nil
}

// reserve refuses to write to a file when that would leave too little for others.
func (o *Options) reserve(to *os.File, bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(to.Fd()), &st); err != nil {
		return fmt.Errorf("look how much room there is in %s: %w", o.Store.Dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; bytes+spareBytes > free {
		return fmt.Errorf("there is no room for the bundle in %s: %s stay free for others, and %s are free; superctl prune removes old releases", o.Store.Dir, Megabytes(spareBytes), Megabytes(free))
	}
	return nil
}

// bytesPerFile is a low guess of how large the files in wheels are, as long as nobody has looked.
const bytesPerFile = 4 << 10

// space looks whether there is room for the release, before anything is written.
func (in *install) space(context.Context) (string, error) {
	m := in.Manifest
	bytes, files := int64(0), int64(len(m.Members))
	for i := range m.Members {
		e := &m.Members[i]
		bytes += e.Size
		switch {
		case path.Ext(e.Path) == ".py":
			bytes += e.Size // compiled
			files++
		case path.Dir(e.Path) == bundle.Wheels:
			bytes += e.Unpacked + e.Unpacked/2 // likewise: of a typical wheel half is Python
			files += e.Unpacked / bytesPerFile
		}
	}
	if err := in.room(bytes, files, "the release"); err != nil {
		return "", err
	}
	return "room for " + Megabytes(bytes), nil
}

// measure looks at what is in the unpacked wheels, and once more for room: a manifest may say what it likes.
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
				err = fmt.Errorf("there are %d bytes in it, and the manifest says %d", b, claimed[name])
			}
			bytes, files = bytes+b, files+int64(n)
			if bytes < 0 {
				err = fmt.Errorf("what is in it is more than any disk has")
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("wheel %s: %w", name, err)
		}
	}
	return in.room(bytes, files*2, "what is in the wheels")
}

// wheels are the names of the wheels that were unpacked.
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
	wheelsDir = ".superctl/wheels" // while the release is made
)
