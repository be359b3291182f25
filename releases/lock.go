package releases

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// ownName is superctl's own directory among the releases.
const ownName = ".superctl"

// lockName is the lock file in it, and holderLimit how much of its content a message shows.
const (
	lockName    = "lock"
	holderLimit = 256
)

// LockedError is the error when another process installs or removes releases.
type LockedError struct {
	Path   string
	Holder string // its operation, PID and start time; "" if unknown
}

// Error names the holder of the lock.
func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "an unknown process"
	}
	return fmt.Sprintf("another install or prune is in progress: %s (%s is locked); try again when it has ended",
		holder, e.Path)
}

// Lock excludes other installs and prunes. The kernel releases it when its holder exits, for
// whatever reason.
type Lock struct{ file *os.File }

// Lock takes the lock for an operation such as "prune", or fails at once with a *LockedError.
func (s *Store) Lock(what string) (*Lock, error) {
	own, err := s.own()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	f, err := own.OpenWritable(lockName, 0o644)
	if errors.Is(err, fs.ErrPermission) {
		f, err = own.Open(lockName) // owned by another user, but flock needs read access only
	}
	if err != nil {
		return nil, fmt.Errorf("lock the releases: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		holder := make([]byte, holderLimit)
		n, _ := f.ReadAt(holder, 0) // if it cannot be read, the message has the path only
		return nil, errors.Join(&LockedError{Path: f.Name(), Holder: oneLine(holder[:n])}, f.Close())
	}
	// The text is for messages only: a write error, such as a full disk, does not matter.
	if f.Truncate(0) == nil {
		text := fmt.Appendf(nil, "%s, pid %d, since %s\n", what, os.Getpid(), time.Now().Format(time.TimeOnly))
		_, _ = f.WriteAt(text, 0)
	}
	return &Lock{f}, nil
}

// oneLine returns text that the app's user may have written as one printable line, or "".
func oneLine(text []byte) string {
	if line := strings.TrimSpace(string(text)); printable(line) {
		return line
	}
	return ""
}

// Unlock releases the lock.
func (l *Lock) Unlock() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// locked reports whether releases are being installed or removed.
func (s *Store) locked() bool {
	dir, err := beneath.Open(s.Dir)
	if err != nil {
		return false
	}
	defer dir.Close()
	f, err := dir.OpenPath(ownName + "/" + lockName)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// own opens superctl's own directory among the releases. If it is missing, it is created for the
// owner of the directory of releases.
func (s *Store) own() (*beneath.Dir, error) {
	dir, err := beneath.Open(s.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	own, err := dir.OpenOrMkdir(ownName)
	if err != nil {
		return nil, s.mayNot(err)
	}
	return own, nil
}

// mayNot adds to a permission error who may change the directory of releases.
func (s *Store) mayNot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: this needs write access to %s: run it as its owner, or with sudo", err, s.Dir)
	}
	return err
}

// frozenTime bounds the wait for the lock of the directory of releases.
const frozenTime = 30 * time.Second

// lookEvery is the interval between two attempts to take the lock: flock(2) has no timeout.
const lookEvery = 10 * time.Millisecond

// Freeze keeps every release in place until thaw is called. A caller holds it from choosing a
// release until the choice is visible to a prune. It does not wait for installs.
func (s *Store) Freeze(ctx context.Context) (thaw func(), err error) {
	if _, err := Open(s.Dir, s.Current); err != nil {
		return nil, err // contains the next step
	}
	return s.freeze(ctx, unix.LOCK_SH)
}

// freeze locks the directory of releases itself, which needs neither write access nor disk space.
func (s *Store) freeze(ctx context.Context, how int) (thaw func(), err error) {
	dir, err := beneath.Open(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("lock the directory of releases: %w", err)
	}
	tooLong := fmt.Errorf("releases are being removed for longer than %s", frozenTime)
	ctx, cancel := context.WithTimeoutCause(ctx, frozenTime, tooLong)
	defer cancel()
	for {
		err := dir.Flock(how | unix.LOCK_NB)
		switch {
		case err == nil, errors.Is(err, unix.EBADF), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP):
			// Some network file systems have no locks; there the second check of a prune must
			// suffice.
			return func() { _ = dir.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("lock the directory of releases: %w", err), dir.Close())
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), dir.Close())
		}
	}
}
