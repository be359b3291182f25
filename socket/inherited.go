package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Inherited holds the descriptors that systemd passed to the daemon: the sockets of socket units
// and, after a crash or a restart, those from its descriptor store. They are identified by name;
// their order changes from boot to boot.
type Inherited struct {
	named []named
}

type named struct {
	name string
	fd   int
}

// Inherit takes the descriptors of LISTEN_FDS, and removes the variables from the environment. Call
// it once, at the start: a second call finds none.
//
// It duplicates the descriptors with system calls. os.File.Fd could clear O_NONBLOCK for every
// process that shares the description.
func Inherit() (*Inherited, error) {
	in := &Inherited{}
	for _, file := range activation.Files(true) {
		fd, err := duplicate(file)
		if err == nil {
			in.named = append(in.named, named{file.Name(), fd})
			err = file.Close()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("inherit descriptor %s: %w", file.Name(), err), in.Close())
		}
	}
	return in, nil
}

// Take removes the descriptors of a name and returns them; the caller owns them. It is for
// descriptors that are not listeners, and for the listeners that a gate adopts.
func (in *Inherited) Take(name string) (fds []int) {
	if in == nil {
		return nil
	}
	var rest []named
	for _, n := range in.named {
		if n.name == name {
			fds = append(fds, n.fd)
		} else {
			rest = append(rest, n)
		}
	}
	in.named = rest
	return fds
}

// Give adds a descriptor that was not passed by systemd, such as one from the previous daemon.
func (in *Inherited) Give(name string, fd int) { in.named = append(in.named, named{name, fd}) }

// Each calls f for each descriptor, and keeps them all.
func (in *Inherited) Each(f func(name string, fd int)) {
	for _, n := range in.named {
		f(n.name, n.fd)
	}
}

// CloseMatching closes the descriptors whose names match.
func (in *Inherited) CloseMatching(chosen func(name string) bool) error {
	drop := &Inherited{}
	keep := in.named[:0]
	for _, n := range in.named {
		if chosen(n.name) {
			drop.named = append(drop.named, n)
		} else {
			keep = append(keep, n)
		}
	}
	in.named = keep
	return drop.Close()
}

// Names returns the name of each descriptor, in the order in which they were passed.
func (in *Inherited) Names() (names []string) {
	if in == nil {
		return nil
	}
	for _, n := range in.named {
		names = append(names, n.name)
	}
	return names
}

// Close closes the descriptors that were not taken.
func (in *Inherited) Close() error {
	if in == nil {
		return nil
	}
	var errs []error
	for _, n := range in.named {
		if err := unix.Close(n.fd); err != nil {
			errs = append(errs, fmt.Errorf("close descriptor %s: %w", n.name, err))
		}
	}
	in.named = nil
	return errors.Join(errs...)
}

// find returns the listener of an address. One .socket unit with two Listen lines passes two
// descriptors of one name, which differ only in the bound address.
func (in *Inherited) find(a Address) (fd int, err error) {
	var fits []int
	var there []string
	if in != nil {
		for _, n := range in.named {
			if n.name != a.name {
				continue
			}
			bound := boundText(n.fd)
			there = append(there, bound)
			if meant := a.selector(); meant == "" || meant == bound {
				fits = append(fits, n.fd)
			}
		}
	}
	switch {
	case len(there) == 0 && len(in.Names()) == 0:
		return -1, fmt.Errorf("systemd passed no socket: is there a socket unit with FileDescriptorName=%s, and was the "+
			"daemon started by it?", a.name)
	case len(there) == 0:
		return -1, fmt.Errorf("systemd passed no socket named %q, only %q: is FileDescriptorName=%s in the socket "+
			"unit, and was the daemon started by it?", a.name, in.Names(), a.name)
	case len(fits) == 0:
		return -1, fmt.Errorf("systemd passed sockets named %q for %s, and none for %s", a.name,
			strings.Join(there, " and "), a.selector())
	case len(fits) > 1:
		return -1, fmt.Errorf("systemd passed %d sockets named %q: write which one, systemd:%s:%s", len(fits), a.name,
			a.name, strings.Join(there, " or systemd:"+a.name+":"))
	}
	if kind, err := unix.GetsockoptInt(fits[0], unix.SOL_SOCKET, unix.SO_TYPE); err != nil ||
		kind != unix.SOCK_STREAM || !listens(fits[0]) {
		return -1, fmt.Errorf(
			"the descriptor named %q is not a listening stream socket: the unit needs ListenStream= and Accept=no",
			a.name)
	}
	return fits[0], nil
}

// boundTo returns the TCP address or the path of the listener of an address.
func (in *Inherited) boundTo(a Address) (at netip.AddrPort, path string, err error) {
	fd, err := in.find(a)
	if err != nil {
		return at, "", err
	}
	if path, err := unixName(fd); err == nil {
		return at, path, nil
	}
	at, err = boundTo(fd)
	return at, "", err
}

// selector returns the address after the descriptor's name in the config, or "".
func (a Address) selector() string {
	switch {
	case a.path != "":
		return "unix:" + a.path
	case a.tcp.IsValid():
		return netip.AddrPortFrom(a.tcp.Addr().WithZone(""), a.tcp.Port()).String()
	}
	return ""
}

// boundText returns where a socket is bound, in the notation of the config.
func boundText(fd int) string {
	if path, err := unixName(fd); err == nil {
		return "unix:" + path
	}
	at, err := boundTo(fd)
	if err != nil {
		return err.Error()
	}
	return at.String()
}
