package releases

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Watch calls changed once it watches, and after each event by which the release at path may have
// been lost: its directory was removed or renamed, or its virtualenv, or the interpreter. It ends
// with ctx.
//
// The kernel tells it (inotify(7)), so nothing wakes up while nothing changes. The files in the
// release itself are not watched: an application may write there all the time. A directory in which
// a process still works is removed without an event of its own, but its parent has one.
func (s *Store) Watch(ctx context.Context, path string, changed func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch release %s: %w", filepath.Base(path), err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch release %s: %w", filepath.Base(path), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })
	defer stop()
	w := releaseWatch{path: path, fd: fd}
	w.arm()
	changed()
	err = raw.Read(func(uintptr) bool {
		if w.read() {
			w.arm() // a recreated directory is another directory
			changed()
		}
		return false // until the deadline
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch release %s: %w", filepath.Base(path), err)
}

// releaseWatch is an inotify descriptor with the directories of a release.
type releaseWatch struct {
	path  string
	fd    int
	names map[int32]string // by watch: the only entry that matters; "" = every one
}

const (
	ofItself  = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	ofEntries = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
)

// arm watches what is there of the release. A directory that is watched already stays so.
func (w *releaseWatch) arm() {
	w.names = make(map[int32]string)
	add := func(dir string, events uint32, name string) {
		// what is missing is no reason to miss the rest
		if id, err := unix.InotifyAddWatch(w.fd, dir, ofItself|events); err == nil {
			w.names[int32(id)] = name
		}
	}
	add(filepath.Dir(w.path), ofEntries, filepath.Base(w.path))
	add(w.path, 0, "")
	venv := Release{Path: w.path}.Virtualenv()
	if venv == "" {
		return
	}
	python := filepath.Join(venv, "bin", "python")
	add(venv, 0, "")
	if program, err := filepath.EvalSymlinks(python); err == nil {
		add(filepath.Dir(program), ofEntries, filepath.Base(program))
	}
	add(filepath.Join(venv, "bin"), ofEntries, "") // last: the interpreter may be here
}

// read reads the events that are there, and reports whether one of them matters.
func (w *releaseWatch) read() (matters bool) {
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(w.fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			return matters
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			size := min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])))
			id := int32(binary.NativeEndian.Uint32(b)) // signed (inotify(7))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00")
			only, known := w.names[id]
			matters = matters || !known || only == "" || name == "" || name == only
			b = b[size:]
		}
	}
}
