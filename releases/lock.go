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

// ownName is the directory among the releases in which superctl keeps what is its own.
const ownName = ".superctl"

// lockName is the file in it that is locked, and holderLimit how much of it is shown.
const (
	lockName    = "lock"
	holderLimit = 256
)

// LockedError says that somebody else installs or removes releases.
type LockedError struct {
	Path   string
	Holder string // what it does, its pid and since when; "" when that is not known
}

// Error names who has the lock.
func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "somebody"
	}
	return fmt.Sprintf("releases are being installed or removed already: by %s (%s is locked); try again when that has ended", holder, e.Path)
}

// Lock keeps everybody else from installing and removing releases. The kernel gives it up when its holder ends, however it ends.
type Lock struct{ file *os.File }

// Lock takes the lock, for something such as "prune", or returns a *LockedError at once.
func (s *Store) Lock(what string) (*Lock, error) {
	own, err := s.own()
	if err != nil {
		return nil, err
	}
	defer own.Close() //nolint:errcheck // the lock is a file in it
	f, err := own.OpenWritable(lockName, 0o644)
	if errors.Is(err, fs.ErrPermission) {
		f, err = own.Open(lockName) // another user's: it can be locked all the same
	}
	if err != nil {
		return nil, fmt.Errorf("lock the releases: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		holder := make([]byte, holderLimit)
		n, _ := f.ReadAt(holder, 0) // without it the path must do
		return nil, errors.Join(&LockedError{Path: f.Name(), Holder: oneLine(holder[:n])}, f.Close())
	}
	// For people only; what is not written for want of room or rights is not missed.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%s, pid %d, since %s\n", what, os.Getpid(), time.Now().Format(time.TimeOnly)), 0)
	}
	return &Lock{f}, nil
}

// oneLine is text that the app's user may have written, as one line for a message.
func oneLine(text []byte) string {
	if line := strings.TrimSpace(string(text)); printable(line) {
		return line
	}
	return ""
}

// Unlock gives the lock up.
func (l *Lock) Unlock() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// locked reports whether releases are being installed or removed at this moment.
func (s *Store) locked() bool {
	dir, err := beneath.Open(s.Dir)
	if err != nil {
		return false
	}
	defer dir.Close() //nolint:errcheck // for reading only
	f, err := dir.OpenPath(ownName + "/" + lockName)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // its end is the lock's
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// own opens superctl's own directory among the releases. It is made when it is missing, for the owner of the directory of
// releases.
func (s *Store) own() (*beneath.Dir, error) {
	dir, err := beneath.Open(s.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // for reading only
	own, err := dir.OpenOrMkdir(ownName)
	if err != nil {
		return nil, s.mayNot(err)
	}
	return own, nil
}

// mayNot says who may change the directory of releases.
func (s *Store) mayNot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: only who may write to %s can do this, so run it as its owner, or with sudo", err, s.Dir)
	}
	return err
}

// frozenTime bounds the wait for who looks at releases, or removes some, in this moment.
const frozenTime = 30 * time.Second

// lookEvery is how often a lock that cannot be had is asked for again: flock(2) has no time limit.
const lookEvery = 10 * time.Millisecond

// Freeze keeps every release where it is until thaw is called: between the moment when one is chosen and the moment when everybody
// can see that it is. It does not wait for installs.
func (s *Store) Freeze(ctx context.Context) (thaw func(), err error) {
	if _, err := Open(s.Dir, s.Current); err != nil {
		return nil, err // says what to do
	}
	return s.freeze(ctx, unix.LOCK_SH)
}

// freeze locks the directory of releases itself, so that neither rights nor room for a file are needed.
func (s *Store) freeze(ctx context.Context, how int) (thaw func(), err error) {
	dir, err := beneath.Open(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("lock the directory of releases: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, frozenTime, fmt.Errorf("releases are being removed for longer than %s", frozenTime))
	defer cancel()
	for {
		err := dir.Flock(how | unix.LOCK_NB)
		switch {
		case err == nil, errors.Is(err, unix.EBADF), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP):
			// Some network file systems cannot; then the second look of a prune must do.
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
