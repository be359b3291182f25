package releases

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Access returns why this process cannot write to a file or create files in a directory, and nil if
// it can.
func Access(path string) error {
	mode := uint32(unix.W_OK)
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		mode |= unix.X_OK
	}
	err := whyDenied(
		unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS), unix.Faccessat(unix.AT_FDCWD, path, mode, 0),
	)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s cannot be changed by anyone, because it is immutable: run chattr -i %s: %w", path, path, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf(
			"%s is read-only for the service: mount its file system read-write, or add ReadWritePaths=%s to the unit: %w",
			path, path, err,
		)
	}
	return fmt.Errorf("user %s cannot write to %s: %w", effectiveUser(), path, err)
}

// whyDenied returns the answer of the kernel about the effective user. For an immutable file that is
// EPERM, which x/sys takes for a system call that a container forbids, and then decides by the mode alone.
// The question about the real user is an older system call, whose EPERM has this reason only.
func whyDenied(effective, realUser error) error {
	if effective == nil && errors.Is(realUser, unix.EPERM) {
		return unix.EPERM
	}
	return effective
}

// Linkable returns why this process cannot update the `current` link, and nil if it can.
func (s *Store) Linkable() error {
	if err := s.Pointable(); err != nil {
		return err
	}
	dir := filepath.Dir(s.Current)
	if err := Access(dir); err != nil {
		return fmt.Errorf("the current link %s cannot be created: %w", s.Current, err)
	}
	in, err := os.Stat(dir)
	if err != nil {
		return err
	}
	link, err := os.Lstat(s.Current)
	if err != nil || in.Mode()&os.ModeSticky == 0 {
		return nil //nolint:nilerr // the link does not exist yet, or the directory is not sticky
	}
	if me := os.Geteuid(); me != 0 && ownedBy(link) != me && ownedBy(in) != me {
		return fmt.Errorf("the current link %s cannot be replaced by user %s, "+
			"who owns neither it nor %s, which is sticky: %w", s.Current, effectiveUser(), dir, unix.EPERM)
	}
	return nil
}

func ownedBy(info os.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(st.Uid)
}

func effectiveUser() string {
	uid := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}
