package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/config"
	"superctl/supervisor"
)

// stateLock ensures that only one daemon of an app runs. "Address in use" cannot ensure it, because
// SO_REUSEPORT lets a second daemon bind the same address (DESIGN 4). The kernel releases the lock
// when the daemon ends for any reason.
//
// The lock is on a file, which contains the daemon's pid, and on the state directory: a file can be
// removed while it is locked, but the directory cannot be removed without its state.
type stateLock struct{ file, dir *os.File }

// lockState locks a state directory, and creates it if it is missing.
func lockState(dir string) (*stateLock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, unwritable(fmt.Errorf("create state directory: %w", err), "state", "STATE_DIRECTORY")
	}
	path := filepath.Join(dir, supervisor.LockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, unwritable(fmt.Errorf("open lock: %w", err), "state", "STATE_DIRECTORY")
	}
	l := &stateLock{file: file}
	if err := l.lock(file); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, l.complete(dir)
}

// lockApp locks the state directory of an app for a daemon that was not handed the lock, and refuses one
// that is a copy of a running daemon's.
func lockApp(c *config.Config) (*stateLock, error) {
	l, err := lockState(c.State)
	if err != nil {
		return nil, err
	}
	if err := supervisor.CheckStateOf(c.State, c.App); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// unwritable adds the next step to the error of a directory that this user cannot write, as in a
// container with a read-only root file system: the key of the config and the variable that set it.
func unwritable(err error, key, variable string) error {
	if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return err
	}
	return fmt.Errorf(
		"%w: set %s in the config, or $%s, to a directory that user %d can write", err, key, variable, os.Geteuid(),
	)
}

// takeLock locks the state directory, or takes over the locks of the previous daemon in an upgrade:
// they belong to the open files, which both daemons share (flock(2)).
func (d *daemon) takeLock() (*stateLock, error) {
	dir := d.config.State
	fd, ok := d.kept.take(lockName)
	if !ok {
		return lockApp(d.config)
	}
	l := &stateLock{file: os.NewFile(uintptr(fd), filepath.Join(dir, supervisor.LockName))}
	if fd, ok := d.kept.take(lockDirName); ok {
		l.dir = os.NewFile(uintptr(fd), dir)
	}
	return l, l.complete(dir)
}

// complete locks the directory, unless that lock was handed over, and writes the pid into the file.
func (l *stateLock) complete(dir string) (err error) {
	if l.dir == nil {
		if l.dir, err = os.Open(dir); err != nil {
			return errors.Join(fmt.Errorf("lock the state directory: %w", err), l.Close())
		}
		if err := l.lock(l.dir); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if _, err := l.file.WriteAt([]byte(fmt.Sprintf("%-20d\n", os.Getpid())), 0); err != nil {
		return errors.Join(fmt.Errorf("write lock: %w", err), l.Close())
	}
	return nil
}

func (l *stateLock) lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		holder, _ := io.ReadAll(io.NewSectionReader(l.file, 0, 20))
		return fmt.Errorf(
			"a daemon of this app is already running%s; superctl status shows it", pidText(string(holder)),
		)
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// Close releases the locks, unless another daemon shares them.
func (l *stateLock) Close() error {
	err := l.file.Close()
	if l.dir != nil {
		err = errors.Join(err, l.dir.Close())
	}
	return err
}

// descriptors returns the locks for the daemon that takes over.
func (l *stateLock) descriptors() []supervisor.Descriptor {
	use := func(f *os.File) func(func(fd int) error) error {
		return func(do func(fd int) error) error {
			raw, err := f.SyscallConn()
			if err != nil {
				return err
			}
			var result error
			err = raw.Control(func(fd uintptr) { result = do(int(fd)) })
			return errors.Join(err, result)
		}
	}
	return []supervisor.Descriptor{{Name: lockName, Use: use(l.file)}, {Name: lockDirName, Use: use(l.dir)}}
}

func pidText(holder string) string {
	if pid := strings.TrimSpace(holder); pid != "" {
		return " (pid " + pid + ")"
	}
	return ""
}
