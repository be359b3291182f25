package oldserver

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/takeover/running"
)

// pinPaths mounts each path of a unix socket on itself: removing it fails with EBUSY then. unpin
// undoes it. The directories may belong to the app's user, so links are resolved only before.
func pinPaths(s *running.Server) (unpin func() error, err error) {
	var pinned []string
	unpin = func() (err error) {
		for _, path := range pinned {
			if bad := unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); bad != nil && !errors.Is(bad, unix.EINVAL) {
				err = errors.Join(err, fmt.Errorf("unpin %s: %w: run umount %s", path, bad, path))
			}
		}
		return err
	}
	for _, l := range s.Listeners {
		if l.Path == "" || l.Path[0] == '@' {
			continue
		}
		path, err := filepath.EvalSymlinks(l.Path) // /var/run is one
		if err == nil {
			err = pinPath(path)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("pin %s: %w", l.Path, err), unpin())
		}
		pinned = append(pinned, path)
	}
	return unpin, nil
}

func pinPath(path string) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Mount(proc.FDPath(fd), proc.FDPath(fd), "", unix.MS_BIND, "")
}
