package daemon

import (
	"os"

	"golang.org/x/sys/unix"
)

// shortPath is how long a directory for sockets may be: the kernel takes 107 bytes for the path of
// one (unix(7)), and its own name below the directory takes up to 40.
const shortPath = 64

// TemporaryParent returns a directory in which one for sockets can be made: $TMPDIR, unless it is
// too long for that.
func TemporaryParent() string {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm"} {
		if len(dir) <= shortPath && unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			return dir
		}
	}
	return os.TempDir()
}
