package cli

import (
	"fmt"
	"strings"

	"superctl/cli/handover"
	"superctl/socket"
)

// The names of descriptors that are not the supervisor's own.
const (
	controlName = "control" // the control socket
	lockName    = "lock"    // the lock of the state directory; in an upgrade only
	socketName  = "socket/" // and what a socket unit has handed in; in an upgrade only
)

// descriptors is what an earlier daemon has left for this one: in an upgrade it hands it over, after a crash or a restart
// systemd had it in its store.
type descriptors struct {
	handed *handover.Upgrader
	stored *socket.Inherited
}

// take is the descriptor of that name, which is the caller's from then on.
func (d *descriptors) take(name string) (fd int, ok bool) {
	if fd, ok := d.handed.Take(name); ok {
		return fd, true
	}
	fds := d.stored.Take(name)
	if len(fds) == 0 {
		return -1, false
	}
	for _, double := range fds[1:] {
		d.stored.Give(name, double) // closed with what nobody takes
	}
	return fds[0], true
}

// ours tells whether a name is one that a daemon gives, and not that of a socket unit.
func ours(name string) bool {
	for _, prefix := range []string{"listener/", "worker/", "log/"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == controlName || name == "notify"
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
func (d *descriptors) close() error { return d.stored.CloseThose(ours) }
