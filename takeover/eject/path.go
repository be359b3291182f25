package eject

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"superctl/socket"
	"superctl/takeover/system"
)

// pathAddress is a unix socket.
//
// A path leads to one socket, and systemd replaces it by removing it first: clients that connect in
// that moment are refused. So a drop-in has systemd bind its socket next to the path, and the path is
// then replaced by a hard link to it, in one step. When superctl has ended, the drop-in is removed.
// systemd reloads the unit and keeps the socket, because the old and the new path lead to the same
// file (socket_address_equal in systemd's socket-util.c; systemd 252 and 257).
type pathAddress struct{ *eject }

// init is the process that has the sockets of socket units.
const initPID = 1

// dropIn returns the drop-in of a unit during an eject.
func dropIn(unit string) system.DropIn { return system.DropIn{Unit: unit, Name: "superctl-eject"} }

// open has systemd bind next to the path, unless it did so in an earlier run. It also keeps systemd
// from removing the directory of the socket with superctl's unit.
func (a *pathAddress) open(ctx context.Context) error {
	_, bound, err := a.inode()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(socket.SuccessorPath(a.Path)); bound && err != nil {
		return fmt.Errorf("%s still runs next to superctl, from a takeover that has not ended: run superctl takeover %s again first",
			a.Service, a.Service)
	}
	err = dropIn(a.Unit).Write(ctx, "[Service]\nRuntimeDirectoryPreserve=yes\n")
	if err != nil || bound {
		return err
	}
	return dropIn(a.Socket).Write(ctx, "[Socket]\nListenStream=\nListenStream="+escape(socket.SuccessorPath(a.Path))+"\n")
}

// inode returns the socket of the socket unit, if it was bound for an eject since the boot.
func (a *pathAddress) inode() (inode uint64, found bool, err error) {
	list, err := socket.ListenersOf([]int{initPID})
	if err != nil {
		return 0, false, fmt.Errorf("the sockets of systemd: %w", err)
	}
	for _, l := range list {
		if l.Path == socket.SuccessorPath(a.Path) {
			return l.Inode, true, nil
		}
	}
	return 0, false, nil
}

func (a *pathAddress) bound() (successor, error) {
	inode, found, err := a.inode()
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%s does not listen on %s: see systemctl status %s", a.Socket, socket.SuccessorPath(a.Path), a.Socket)
	}
	return a.taken.PathSuccessor(a.Path, inode), nil
}

func (a *pathAddress) undo(ctx context.Context) error {
	err := dropIn(a.Unit).Remove(ctx)
	if !a.started {
		return err // the other one is that of the socket unit, which may run
	}
	return errors.Join(err, dropIn(a.Socket).Remove(ctx), socket.ForgetSuccessor(a.Path))
}

// settle gives the socket unit its lasting path.
func (a *pathAddress) settle(ctx context.Context) error {
	if _, err := os.Lstat(socket.SuccessorPath(a.Path)); errors.Is(err, fs.ErrNotExist) {
		return nil // an earlier run did it
	}
	inode, found, err := a.inode()
	if err != nil {
		return err
	}
	if !found {
		return socket.ForgetSuccessor(a.Path) // the socket unit was started again since
	}
	if err := socket.TurnPath(a.Path, inode); err != nil { // it leads there, unless superctl took it back and was stopped then
		return err
	}
	err = errors.Join(dropIn(a.Unit).Remove(ctx), dropIn(a.Socket).Remove(ctx))
	// An earlier run may have removed them and no more.
	if err = errors.Join(err, system.Run(ctx, "systemctl", "daemon-reload")); err != nil {
		return err
	}
	if _, found, err = a.inode(); err == nil && !found {
		err = fmt.Errorf("%s serves, but systemd has lost the socket of %s: run systemctl restart %s %s, a moment without "+
			"the site", a.Service, a.Socket, a.Socket, a.Service)
	}
	return errors.Join(err, socket.ForgetSuccessor(a.Path))
}

// Unsettled reports whether something of an eject to the site's units is still to be done at its
// unix socket.
func Unsettled(s *Site) bool {
	if s.Listen.Path == "" {
		return false
	}
	_, err := os.Lstat(socket.SuccessorPath(s.Listen.Path))
	return err == nil
}
