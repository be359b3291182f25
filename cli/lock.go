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
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

func pidText(holder string) string {
	if pid := strings.TrimSpace(holder); pid != "" {
		return " (pid " + pid + ")"
	}
	return ""
}
