package daemon

import (
	"fmt"
	"slices"
	"strings"

	"superctl/daemon/handover"
	"superctl/socket"
)

// The names of descriptors that are not the supervisor's own.
const (
	controlName = "control"        // the control socket
	notifyName  = "notify"         // the socket on which workers say READY=1
	lockName    = "lock"           // the lock of the state directory; in an upgrade only
	lockDirName = "lock-directory" // the same
	socketName  = "socket/"        // and what a socket unit has handed in; in an upgrade only
)

// descriptors is what an earlier daemon has left for this one: in an upgrade it hands it over,
// after a crash or a restart systemd had it in its store.
type descriptors struct {
	handed *handover.Upgrader
	stored *socket.Inherited
	paths  map[string]string // of those that have one: a socket that its path does not lead to is of no use
}

// take is the descriptor of that name, which is the caller's from then on.
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
		d.stored.Give(name, each) // closed with what nobody takes
	}
	return fd, ok
}

// ours tells whether a name is one that a daemon gives, and not that of a socket unit.
func ours(name string) bool {
	for _, prefix := range []string{"listener/", "worker/", "log/"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == controlName || name == notifyName
}

// names is what is in systemd's store. An upgrade hands over just that, and more.
func (d *descriptors) names() (list []string) {
	for _, name := range append(d.handed.Names(), d.stored.Names()...) {
		if ours(name) {
			list = append(list, name)
		}
	}
	return list
}

// sockets is what socket units have handed in, to this daemon or to the one before.
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

// unitSockets is what an upgrade hands over of socket units.
func (d *descriptors) unitSockets() map[string]int {
	all := make(map[string]int)
	d.stored.Each(func(name string, fd int) { all[fmt.Sprintf("%s%d/%s", socketName, len(all), name)] = fd })
	return all
}

// close closes what nobody has taken; sockets of socket units stay.
func (d *descriptors) close() error { return d.stored.CloseMatching(ours) }
