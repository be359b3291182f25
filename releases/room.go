package releases

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// leastFiles is how many files must be free besides the bytes: each write of a file is one of a new
// file and a rename.
const leastFiles = 16

// Room returns why a process of this user cannot write files of so many bytes to a directory: its
// file system is read-only, full, or has no inodes left. nil: it can, as far as the file system
// says.
func Room(dir string, bytes uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("check the free space in %s: %w", dir, err)
	}
	free := st.Bavail
	if os.Geteuid() == 0 {
		free = st.Bfree // what is reserved is root's
	}
	left := free * uint64(st.Bsize) // which is positive
	var err error
	if st.Flags&unix.ST_RDONLY != 0 {
		err = errors.Join(err, fmt.Errorf("the file system of %s is mounted read-only: %w", dir, unix.EROFS))
	}
	if st.Blocks > 0 && left < bytes { // some file systems do not count
		err = errors.Join(
			err,
			fmt.Errorf(
				"the file system of %s is full: %d KB are free, %d KB are needed (df -h %s)", dir, left>>10, bytes>>10,
				dir,
			),
		)
	}
	if st.Files > 0 && st.Ffree < leastFiles {
		err = errors.Join(
			err,
			fmt.Errorf(
				"the file system of %s has %d inodes left, %d are needed (df -i %s)", dir, st.Ffree, leastFiles, dir,
			),
		)
	}
	return err
}
