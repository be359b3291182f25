package beneath

import (
	"fmt"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"
)

// BindUnix binds a unix socket to a path and gives its file the mode. It uses the path only once:
// in a directory that others can write, the path may lead to another file afterwards. The kernel
// takes the mode of the descriptor, less the umask (net/unix/af_unix.c, unix_bind_bsd). The umask
// is cleared in a thread that shares it with no other thread and ends with the goroutine.
func BindUnix(fd int, path string, mode fs.FileMode) error {
	if err := unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
		return fmt.Errorf("mode of socket: %w", err)
	}
	bound := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			bound <- fmt.Errorf("unshare the umask: %w", err)
			return
		}
		unix.Umask(0)
		bound <- unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}()
	return <-bound
}

// ChownSocket changes the owner and group of a unix socket that this user created; -1 leaves either
// unchanged. It follows no link, and refuses a file that replaced the socket. same, if not nil, is
// a further check of the file.
func ChownSocket(path string, uid, gid int, same func(*unix.Stat_t) bool) error {
	file, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(file)
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != unix.Geteuid() || same != nil && !same(&st) {
		return fmt.Errorf("%s was replaced while being created", path)
	}
	if err := unix.Fchownat(file, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return &fs.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}
