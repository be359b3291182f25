package eject

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/socket"
	"superctl/takeover/running"
)

func (e *eject) duplicate(l socket.Listening) (*socket.Taken, error) {
	fd, err := descriptor(e.daemon.PID, l.Inode)
	if err != nil {
		return nil, err
	}
	e.listener = running.Listener{Listening: l, FD: fd}
	return socket.Take(e.pidfd, fd, l.Inode)
}

// only returns the listener of the live generation when no other generation has one, and at most one
// spare. After a switch, the previous generation has a listener until its requests are finished. The
// daemon is frozen then, so that it changes nothing meanwhile.
func (e *eject) only(ctx context.Context) (live socket.Listening, spares []socket.Listening, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Drain+proveAgain)
	defer cancel()
	for first := true; ; first = false {
		single, err := e.Single(ctx) // a generation that ends has a listener that its workers have closed
		if err != nil {
			return live, nil, err
		}
		if err := e.freeze(ctx); err != nil {
			return live, nil, errors.Join(err, e.signal(unix.SIGCONT))
		}
		used, spares, err := e.listeners()
		if err == nil && single && len(used) == 1 && len(spares) <= 1 {
			return used[0], spares, nil
		}
		if err := errors.Join(err, e.signal(unix.SIGCONT)); err != nil {
			return live, nil, err
		}
		if first {
			e.Say("wait until only the live release has a listener")
		}
		if pause(ctx, proveAgain) != nil {
			return live, nil, fmt.Errorf("another generation than the live one still has a listener on %s: wait until "+
				`superctl status shows one generation; with a standby, set standby = "0s" and run superctl reload`, e.Address)
		}
	}
}

// listeners returns the listeners of the daemon that its workers have open, and those that they have
// not.
func (e *eject) listeners() (used, spares []socket.Listening, err error) {
	all, err := socket.ListenersOf([]int{e.daemon.PID})
	if err != nil {
		return nil, nil, err
	}
	workers, err := proc.Descendants(e.daemon.PID)
	if err != nil {
		return nil, nil, err
	}
	theirs, err := socket.ListenersOf(workers)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range all {
		switch {
		case (running.Listener{Listening: l}).String() != e.Address:
		case slices.ContainsFunc(theirs, func(o socket.Listening) bool { return o.Inode == l.Inode }):
			used = append(used, l)
		default:
			spares = append(spares, l)
		}
	}
	return used, spares, nil
}

func descriptor(pid int, inode uint64) (int, error) {
	open, err := proc.Descriptors(pid)
	if err != nil {
		return -1, err
	}
	for _, d := range open {
		if number, ok := d.Socket(); ok && number == inode {
			return d.FD, nil
		}
	}
	return -1, socket.ErrReused
}
