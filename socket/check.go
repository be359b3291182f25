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

// Probe says whether listening would work as start-up would do it: nobody else has the address, a port may be bound, the
// directory of a unix socket is there and writable, its path is a socket or nothing. It disturbs nobody, a running daemon
// of this app least: ours says which processes are its and its workers', and what they hold is as it should be. Nil means
// that nobody is ours.
//
// Of "systemd:NAME" only the daemon that systemd starts can find out more.
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
	running, err := neighbours(at, a.text, nil, ours)
	if err != nil || len(running) > 0 {
		return err
	}
	// Bound and not listening, the socket is in no group and gets nothing.
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
	who, err := occupied(a.path)
	if err != nil || who == nil || allEarlier(who.holders, ours) {
		return err
	}
	return inUse(a.text, who.uid, who.holders)
}
