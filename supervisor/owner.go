package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mostLinks is how many symbolic links a path may lead over, as for the kernel
// (path_resolution(7)).
const mostLinks = 40

// StateOwner returns the user as whom the daemon of a state directory runs, or ran: the owner of
// the directory. Not ok if there is none. Nothing in the directory is looked at, because that user
// can write there: it could make a file of root's, or a link to one. If another user than root
// owns a directory on the way to it, that is the user, who could put any other in its place.
func StateOwner(dir string) (uid uint32, ok bool, err error) {
	rest, at, links := split(dir), "/", 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		path := filepath.Join(at, name)
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return 0, false, nil
		case err != nil:
			return 0, false, fmt.Errorf("look at %s: %w", path, err)
		case st.Uid != 0:
			return st.Uid, true, nil
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			if links++; links > mostLinks {
				return 0, false, fmt.Errorf("look at %s: %w", dir, unix.ELOOP)
			}
			to, err := readlink(path)
			if err != nil {
				return 0, false, fmt.Errorf("look at %s: %w", path, err)
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(split(to), rest...)
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return 0, false, fmt.Errorf("%s is not a directory", path)
		case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 && (st.Mode&0o002 != 0 || st.Gid != 0):
			return 0, false, fmt.Errorf(
				"%s can be written by others than root, so its content says nothing of who runs: chmod go-w %s", path,
				path,
			)
		default:
			at = path
		}
	}
	return 0, true, nil
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func readlink(path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(path, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
