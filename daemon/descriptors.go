package daemon

import (
	"fmt"
	"slices"
	"strings"

	"superctl/daemon/handover"
	"superctl/socket"
)

// The names of descriptors that do not belong to the supervisor.
const (
	controlName = "control"        // the control socket
	notifyName  = "notify"         // the socket for READY=1 of workers
	lockName    = "lock"           // the lock file of the state directory; only in an upgrade
	lockDirName = "lock-directory" // the state directory, which is locked too; only in an upgrade
	socketName  = "socket/"        // prefix of sockets from a socket unit; only in an upgrade
)

// descriptors holds the descriptors of an earlier daemon: handed over in an upgrade, or kept in
// systemd's store over a crash or a restart.
type descriptors struct {
	handed *handover.Upgrader
	stored *socket.Inherited
	paths  map[string]string // where a socket must be reachable; a socket that is not is useless
}

// take returns the descriptor of that name. The caller owns it from then on.
func (d *descriptors) take(name string) (fd int, ok bool) {
	var fds []int
	if handed, ok := d.handed.Take(name); ok {
		fds = []int{handed}
	} else {
		fds = d.stored.Take(name)
	}
	chosen := 0
	if path, ok := d.paths[name]; ok {
		chosen = slices.IndexFunc(fds, func(fd int) bool { return socket.LeadsTo(path, fd) })
	}
	fd, ok = -1, false
	for i, each := range fds {
		if i == chosen {
			fd, ok = each, true
			continue
		}
		d.stored.Give(name, each) // close closes it
	}
	return fd, ok
}

// ours reports whether a daemon gave a descriptor its name, rather than a socket unit.
func ours(name string) bool {
	for _, prefix := range []string{"listener/", "worker/", "log/"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == controlName || name == notifyName
}

// names returns the names of the descriptors of an earlier daemon.
func (d *descriptors) names() (list []string) {
	for _, name := range append(d.handed.Names(), d.stored.Names()...) {
		if ours(name) {
			list = append(list, name)
		}
	}
	return list
}

// sockets returns the sockets that socket units passed to this or an earlier daemon.
func (d *descriptors) sockets() *socket.Inherited {
	for _, name := range d.handed.Names() {
		if rest, ok := strings.CutPrefix(name, socketName); ok {
			_, unit, _ := strings.Cut(rest, "/")
			if fd, ok := d.handed.Take(name); ok {
				d.stored.Give(unit, fd)
			}
		}
	}
	return d.stored
}

// unitSockets returns the sockets of socket units by the names that an upgrade hands them over
// with.
func (d *descriptors) unitSockets() map[string]int {
	all := make(map[string]int)
	d.stored.Each(func(name string, fd int) { all[fmt.Sprintf("%s%d/%s", socketName, len(all), name)] = fd })
	return all
}

// close closes the descriptors that were not taken, except those of socket units.
func (d *descriptors) close() error { return d.stored.CloseMatching(ours) }
