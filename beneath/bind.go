package beneath

import (
	"fmt"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"
)

// BindUnix binds a unix socket to a path, and makes its file with a mode. The path is not used a second time: in a directory
// that others can write it may lead to another file by then. The kernel takes the mode of the descriptor, less the umask
// (net/unix/af_unix.c, unix_bind_bsd). The umask is cleared in a thread that shares its own with no other and ends with the
// goroutine.
func BindUnix(fd int, path string, mode fs.FileMode) error {
	if err := unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
		return fmt.Errorf("mode of socket: %w", err)
	}
	bound := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: see above
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			bound <- fmt.Errorf("a umask of its own: %w", err)
			return
		}
		unix.Umask(0)
		bound <- unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}()
	return <-bound
}

// ChownSocket changes the owner of a unix socket that this user has made; -1 leaves it. It follows no link, and changes
// nothing else that has taken the place of the socket. same has its say too, when it is not nil.
func ChownSocket(path string, uid, gid int, same func(*unix.Stat_t) bool) error {
	file, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(file) //nolint:errcheck // nothing was written
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != unix.Geteuid() || same != nil && !same(&st) {
		return fmt.Errorf("%s was replaced while it was made", path)
	}
	if err := unix.Fchownat(file, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return &fs.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}
