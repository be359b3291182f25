package requests

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFiles is the number of files of one place that are read. A page takes 8 KB at least: the pages
// of ended processes are folded long before there are so many.
const maxFiles = 16384

// mark is the name of an empty file that a program makes to say that it counts, before it has
// served a request.
const mark = ".counts"

// directory is the directory of the pages of one place. Its owner may change it at any time.
type directory struct {
	f     *os.File
	owner uint32
	dev   uint64

	names  []string // that may be pages
	marked bool
	more   bool // there are more than maxFiles
}

func openDirectory(path string) (*directory, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	d := &directory{f: f}
	st, err := f.Stat()
	if err == nil {
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok {
			err = fmt.Errorf("stat %s: no owner", path)
		} else {
			d.owner, d.dev = sys.Uid, sys.Dev
			err = d.list()
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

func (d *directory) close() error { return d.f.Close() }

// list reads the names. Those that begin with a dot are not pages.
func (d *directory) list() error {
	names, err := d.f.Readdirnames(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	d.more = len(names) > maxFiles
	d.marked = slices.Contains(names, mark)
	for _, name := range names {
		if !strings.HasPrefix(name, ".") {
			d.names = append(d.names, name)
		}
	}
	return nil
}

// found is a page and what is known of its process.
type found struct {
	page
	final bool // nothing can write it any more
}

// read reads a page. Only a regular file of the directory's own user and file system is one: nothing
// that could block the daemon, and nothing that a link leads to.
func (d *directory) read(name string, alive Alive) (p found, err error) {
	fd, err := unix.Openat(
		int(d.f.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0,
	)
	if err != nil {
		return p, skippable(name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return p, skippable(name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != d.owner || st.Dev != d.dev {
		return p, errNoPage
	}
	// The process is looked for before its page is read: what it has written then is all.
	pid, start, err := readHead(fd)
	if err != nil {
		return p, err
	}
	running := alive(pid, start)
	p.final = !running && !held(fd)
	if p.page, err = readPage(fd, st.Size); err != nil {
		return p, skippable(name, err)
	}
	if p.pid != pid || p.start != start {
		return p, errNoPage
	}
	p.counts.leave(running)
	return p, nil
}

// skippable returns the error of a file that cannot be read. Whatever the app's user has put into
// the directory is no page. Only where the daemon itself lacks something the page may be read later,
// and must not be forgotten.
func skippable(name string, err error) error {
	for _, lack := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO} {
		if errors.Is(err, lack) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return errNoPage
}

// remove removes a file; one that is gone already is removed.
func (d *directory) remove(name string) error {
	err := unix.Unlinkat(int(d.f.Fd()), name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("remove %s: %w", name, err)
}
