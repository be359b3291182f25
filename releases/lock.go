package releases

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ownName is the directory among the releases in which superctl keeps what is its own.
const ownName = ".superctl"

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
	dir, err := s.own()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(path) // another user's: it can be locked all the same
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := s.give(path); err != nil { // root may be the first
		return nil, errors.Join(fmt.Errorf("make lock: %w", err), f.Close())
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		holder, _ := os.ReadFile(path) // without it the path must do
		return nil, errors.Join(&LockedError{Path: path, Holder: strings.TrimSpace(string(holder))}, f.Close())
	}
	// For people only; what is not written for want of room or rights is not missed.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%s, pid %d, since %s\n", what, os.Getpid(), time.Now().Format(time.TimeOnly)), 0)
	}
	return &Lock{f}, nil
}

// Unlock gives the lock up.
func (l *Lock) Unlock() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// locked tells whether somebody installs or removes releases in this moment.
func (s *Store) locked() bool {
	f, err := os.Open(filepath.Join(s.Dir, ownName, "lock"))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // its end is the lock's
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// own is superctl's own directory among the releases, made when it is not there yet: for whom the directory of releases is for.
func (s *Store) own() (string, error) {
	dir := filepath.Join(s.Dir, ownName)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return dir, nil
	}
	if err != nil {
		return "", s.mayNot(err)
	}
	return dir, s.give(dir)
}

// give gives something among the releases the owner of their directory, and to a directory its mode.
func (s *Store) give(path string) error {
	parent, err := os.Stat(s.Dir)
	if err != nil {
		return err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st.IsDir() && st.Mode() != parent.Mode() {
		if err := os.Chmod(path, parent.Mode()); err != nil {
			return err
		}
	}
	owner, ok := parent.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, int(owner.Uid), int(owner.Gid))
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
	dir, err := os.Open(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("lock the directory of releases: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, frozenTime, fmt.Errorf("releases are being removed for longer than %s", frozenTime))
	defer cancel()
	for {
		err := unix.Flock(int(dir.Fd()), how|unix.LOCK_NB)
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
