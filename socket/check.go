package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Probe reports whether the daemon could listen on the address at start-up. No other process may
// use the address, the port must be one that the user may bind, the directory of a unix socket must
// exist and be writable, and its path must be a socket or missing. Probe does not disturb a running
// daemon.
//
// ours reports whether a process is the app's running daemon or one of its workers; listeners that
// only such processes hold are fine. A nil ours means that no process is.
//
// Probe cannot check "systemd:NAME": only a daemon started by systemd has the descriptor.
func (a Address) Probe(ours func(pid int) bool) error {
	var err error
	switch a.network {
	case tcp:
		err = a.probeTCP(ours)
	case unixNet:
		err = a.probeUnix(ours)
	case systemd:
	}
	if in := (*InUseError)(nil); err != nil && !errors.As(err, &in) {
		return fmt.Errorf("address %q: %w", a.text, err)
	}
	return err
}

func (a Address) probeTCP(ours func(int) bool) error {
	at := a.tcp
	if a.any && !haveIPv6() {
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
	}
	running, err := foreignListeners(at, a.text, nil, knownByHolders(ours))
	if err != nil || len(running) > 0 {
		return err
	}
	// A socket that is bound but does not listen is in no group and gets no connections.
	fd, err := tcpSocketAt(at)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func (a Address) probeUnix(ours func(int) bool) error {
	dir := filepath.Dir(a.path)
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory %s does not exist: make it, or name it in RuntimeDirectory= of the unit", dir)
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("directory %s is not writable: %w", dir, err)
	}
	who, err := findOccupant(a.path)
	if err != nil || who == nil || heldByEarlier(who.holders, ours) {
		return err
	}
	return inUse(a.text, who.uid, who.holders)
}
