package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockState makes this daemon the only one of its app. SO_REUSEPORT lets a second one bind the same address, so "address
// in use" cannot do it (DESIGN 4). The kernel gives the lock up when the daemon ends, however it ends.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		holder, _ := os.ReadFile(path)
		return nil, errors.Join(fmt.Errorf("a daemon for this app runs already%s; it goes on untouched (superctl status shows it)",
			pidText(string(holder))), f.Close())
	}
	return f, signLock(f)
}

// takeLock locks the state directory, or goes on with the lock of the daemon that hands over: it belongs to the open file,
// which both have (flock(2)).
func (d *daemon) takeLock() (*os.File, error) {
	fd, ok := d.kept.take(lockName)
	if !ok {
		return lockState(d.config.State)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.config.State, "lock"))
	return f, signLock(f)
}

// signLock writes into the lock whose it is.
func signLock(f *os.File) error {
	_, err := f.WriteAt([]byte(fmt.Sprintf("%-20d\n", os.Getpid())), 0)
	if err != nil {
		return errors.Join(fmt.Errorf("write lock: %w", err), f.Close())
	}
	return nil
}

func pidText(holder string) string {
	if pid := strings.TrimSpace(holder); pid != "" {
		return " (pid " + pid + ")"
	}
	return ""
}
