package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watch reports changes that other processes make to listeners: a worker shuts one down, or a
// cleaner removes the path of a unix socket. The kernel has events for both, so that an idle daemon
// does not wake up: epoll reports EPOLLHUP and EPOLLRDHUP of a listening socket, without new
// connections unless EPOLLIN is requested; inotify reports changes to a directory's entries.
type watch struct {
	path string // of a unix socket, whose directory is watched; "" for no path

	mu            sync.Mutex
	fds           map[int]struct{}
	poll          int  // epoll descriptor, -1 while the watch does not run
	events        int  // inotify descriptor, likewise
	watchesParent bool // the directory is missing, and one of its parents is watched
}

// WatchPath calls changed when something may have happened to the unix socket at path, and once at
// the start, until ctx ends. It is for sockets that have no gate.
func WatchPath(ctx context.Context, path string, changed func()) error {
	return newWatch(path).run(ctx, changed)
}

func newWatch(path string) *watch {
	return &watch{path: path, fds: map[int]struct{}{}, poll: -1, events: -1}
}

// add watches a listener.
func (w *watch) add(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fds[fd] = struct{}{}
	w.register(fd)
}

// register adds an open descriptor to epoll. Each change of its state gives one event.
func (w *watch) register(fd int) {
	if w.poll >= 0 {
		_ = unix.EpollCtl(w.poll, unix.EPOLL_CTL_ADD, fd,
			&unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(fd)})
	}
}

// remove stops watching a listener. Closing the descriptor alone would not, because workers share
// the open file description.
func (w *watch) remove(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.fds, fd)
	if w.poll >= 0 {
		_ = unix.EpollCtl(w.poll, unix.EPOLL_CTL_DEL, fd, nil)
	}
}

// run calls changed once at the start and after each change, until ctx ends.
func (w *watch) run(ctx context.Context, changed func()) error {
	file, err := w.start()
	if err != nil {
		return fmt.Errorf("watch the listeners: %w", err)
	}
	defer w.end(file)
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch the listeners: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })
	defer stop()
	changed()
	err = raw.Read(func(uintptr) bool {
		if w.readEvents() {
			changed()
		}
		return false // until the deadline
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch the listeners: %w", err)
}

func (w *watch) start() (*os.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime's poller can wait for it
		return nil, errors.Join(err, unix.Close(fd))
	}
	w.poll = fd
	for fd := range w.fds {
		w.register(fd)
	}
	if w.path != "" {
		if w.events, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
			w.poll = -1
			return nil, errors.Join(err, unix.Close(fd))
		}
		if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, w.events,
			&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.events)}); err != nil {
			w.poll = -1
			return nil, errors.Join(err, unix.Close(w.events), unix.Close(fd))
		}
		w.arm()
	}
	return os.NewFile(uintptr(fd), "watch"), nil
}

func (w *watch) end(file *os.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.poll = -1
	_ = file.Close()
	if w.events >= 0 {
		_ = unix.Close(w.events)
		w.events = -1
	}
}

// readEvents consumes the pending events, and reports whether one is relevant.
func (w *watch) readEvents() (ours bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]unix.EpollEvent, 16)
	for {
		n, err := unix.EpollWait(w.poll, list, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return ours
		}
		for _, e := range list[:n] {
			if int(e.Fd) != w.events || w.pathChanged() {
				ours = true
			}
		}
	}
}

// pathChanged reports whether something may have happened to the socket's path.
func (w *watch) pathChanged() (ours bool) {
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(w.events, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			break
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			size := min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00")
			// An event without a name is about the directory itself.
			ours = ours || name == "" || w.watchesParent || strings.HasPrefix(name, filepath.Base(w.path))
			b = b[size:]
		}
	}
	w.arm()
	return ours
}

// arm watches the directory or, if it is missing, its nearest existing parent.
func (w *watch) arm() {
	const entries = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF |
		unix.IN_MOVE_SELF
	for dir := filepath.Dir(w.path); ; dir = filepath.Dir(dir) {
		_, err := unix.InotifyAddWatch(w.events, dir, entries|unix.IN_ONLYDIR)
		w.watchesParent = dir != filepath.Dir(w.path)
		if err == nil || dir == "/" {
			return
		}
	}
}
