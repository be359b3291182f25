package daemon

import (
	"os"

	"golang.org/x/sys/unix"
)

// shortPath is the longest path of a directory for sockets, in bytes: the path of a socket may have
// 107 (unix(7)), and its name below the directory takes up to 40.
const shortPath = 64

// TemporaryParent returns a directory for temporary directories with sockets: $TMPDIR, unless its
// path is too long.
func TemporaryParent() string {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm"} {
		if len(dir) <= shortPath && unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			return dir
		}
	}
	return os.TempDir()
}
