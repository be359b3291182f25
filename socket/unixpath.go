package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// listenUnix returns a listener at a path that does not exist. The file has its mode from the
// start, and its owner before the socket listens. Both are set on descriptors: the app's user may
// be able to write to the directory, and could then make the path lead anywhere at any moment.
func listenUnix(path string, perm permissions, backlog int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := beneath.BindUnix(fd, path, perm.mode); err != nil {
		return -1, errors.Join(explainUnixBind(err, path), unix.Close(fd))
	}
	if err := open(fd, path, perm, backlog); err != nil {
		return -1, errors.Join(err, os.Remove(path), unix.Close(fd))
	}
	return fd, nil
}

func open(fd int, path string, perm permissions, backlog int) error {
	if perm.uid >= 0 || perm.gid >= 0 {
		if err := chownSocket(fd, path, perm.uid, perm.gid); err != nil {
			return fmt.Errorf("owner of socket: %w", err)
		}
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	return nil
}

// chownSocket changes the owner of a socket's file, after it has checked that the path leads to
// that file.
func chownSocket(fd int, path string, uid, gid int) error {
	own, known := fileOf(fd)
	return beneath.ChownSocket(path, uid, gid, func(st *unix.Stat_t) bool { return !known || own == identify(st) })
}

// fileID identifies the file of a unix socket as sock_diag does: 32 bits of the inode number, and
// the kernel's own dev_t (include/linux/kdev_t.h).
type fileID struct{ dev, ino uint32 }

func identify(st *unix.Stat_t) fileID {
	return fileID{unix.Major(st.Dev)<<20 | unix.Minor(st.Dev), uint32(st.Ino)}
}

// fileOf returns the file of a socket of ours. It is unknown without sock_diag.
func fileOf(fd int) (id fileID, known bool) {
	number, err := inode(fd)
	if err != nil {
		return id, false
	}
	return fileOfInode(number)
}

// fileOfInode returns the file of the unix socket with that inode. It is unknown without sock_diag.
func fileOfInode(number uint32) (id fileID, known bool) {
	err := diag(unixRequest(number, showVFS, tcpListen, tcpClose), func(b []byte) {
		if s, ok := parseUnix(b); ok && s.file != 0 {
			id, known = fileID{s.dev, s.file}, true
		}
	}, false)
	return id, known && err == nil
}

// LeadsTo reports whether connecting to a path reaches this unix socket. Another socket may have
// been bound there since.
func LeadsTo(path string, fd int) bool {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false
	}
	own, known := fileOf(fd)
	return !known || own == identify(&st)
}

// isShutDown reports whether a process has shut down a listener of ours. A unix socket cannot
// listen again after that: every connect to it is refused (net/unix/af_unix.c,
// unix_stream_connect).
func isShutDown(fd int) bool {
	state := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(state, 0)
	return err == nil && n > 0 && state[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0
}

func explainUnixBind(err error, path string) error {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("bind %s: directory %s does not exist: make it, or name it in RuntimeDirectory= of the unit",
			path, dir)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("bind %s: %w: directory %s must be writable for the daemon's user", path, err, dir)
	}
	return fmt.Errorf("bind %s: %w", path, err)
}

// unixName returns the path that a unix socket was bound to.
func unixName(fd int) (string, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", fmt.Errorf("getsockname: %w", err)
	}
	name, ok := sa.(*unix.SockaddrUnix)
	if !ok {
		return "", errors.New("not a unix socket")
	}
	return name.Name, nil
}

// unixQueueOf returns the length and the limit of the accept queue of a listener of ours. Without
// sock_diag the length is 1 if any connection waits, because the listener is readable then.
func unixQueueOf(fd int) (length, limit int, err error) {
	number, err := inode(fd)
	if err != nil {
		return 0, 0, err
	}
	if length, limit, err = unixQueue(number); err == nil {
		return length, limit, nil
	}
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	length, err = unix.Poll(ready, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("queue: %w", err)
	}
	return length, 0, nil
}

// mustBeSocket returns an error for a path that is not a socket, so that no other file is replaced.
func mustBeSocket(path string) error {
	st, err := os.Lstat(path)
	if err == nil && st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is not a socket, and is not replaced: move it away, or choose another path", path)
	}
	return ignoreMissing(err)
}

// occupant describes the listener behind a path.
type occupant struct {
	file    fs.FileInfo
	uid     uint32
	cookie  uint64 // of the listener; 0 = unknown
	holders []holder
}

// findOccupant returns the listener behind path, or nil if there is none. It asks sock_diag first,
// which disturbs nothing. sock_diag does not see a listener in another network namespace that
// shares the file system, so findOccupant then tries to connect: only a refusal proves that there
// is none.
func findOccupant(path string) (*occupant, error) {
	if err := mustBeSocket(path); err != nil {
		return nil, err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	file := st.Sys().(*syscall.Stat_t)
	who := &occupant{file: st, uid: file.Uid}
	if l, found := listenerBehind(path, file); found {
		who.cookie = l.cookie
		who.holders = append(who.holders, holders(map[uint32]bool{l.inode: true})[l.inode]...)
		return who, nil
	}
	if answers(path) {
		return who, nil
	}
	return nil, nil // no listener, and no error
}

// listenerBehind returns the listener of a socket's file. The file identifies it. Its name does not:
// a process in another mount namespace may have bound the same one. But on an overlay file system
// stat shows another file than sock_diag, so then the name has to do.
func listenerBehind(path string, file *syscall.Stat_t) (unixSocket, bool) {
	dev := unix.Major(file.Dev)<<20 | unix.Minor(file.Dev)
	list, _ := unixSockets(tcpListen)
	if i := slices.IndexFunc(list, func(l unixSocket) bool { return l.file == uint32(file.Ino) && l.dev == dev }); i >= 0 {
		return list[i], true
	}
	if i := slices.IndexFunc(list, func(l unixSocket) bool { return l.name == path }); i >= 0 {
		return list[i], true
	}
	return unixSocket{}, false
}

// answers reports whether a process listens at path.
func answers(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	return !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT)
}

// removeStale removes a socket without a listener.
func removeStale(path string) error {
	who, err := findOccupant(path)
	if err != nil {
		return err
	}
	if who != nil {
		return inUse("unix:"+path, who.uid, who.holders)
	}
	return ignoreMissing(os.Remove(path))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
