package eject

import (
	"context"
	"errors"
	"fmt"

	"superctl/proc"
	"superctl/socket"
)

// tcpAddress is a TCP port. The listeners of superctl and of the socket unit are in one SO_REUSEPORT
// group, and the filter of the group decides which of them gets a new connection.
type tcpAddress struct{ *eject }

// open lets systemd bind the port, too: all listeners of a group need the same user, and systemd
// binds as root. From here the daemon can bind no more.
func (a *tcpAddress) open(context.Context) error {
	live := a.listener
	for _, spare := range a.spares {
		if err := a.withdraw(spare); err != nil {
			return err
		}
	}
	a.listener = live
	return a.taken.GiveTo(0)
}

func (a *tcpAddress) withdraw(spare socket.Listening) error {
	taken, err := a.duplicate(spare)
	if err != nil {
		return err
	}
	// It stays bound until the daemon closes it, and all sockets of the address need one user.
	return errors.Join(taken.Withdraw(), taken.GiveTo(0), taken.Close())
}

func (a *tcpAddress) bound() (successor, error) { return a.taken.Successor() }

// undo lets the daemon bind again, also after an earlier run that was killed.
func (a *tcpAddress) undo(context.Context) error {
	status, err := proc.ReadStatus(a.daemon.PID)
	if err != nil {
		return fmt.Errorf("superctl's daemon: %w", err)
	}
	open, err := proc.Descriptors(a.daemon.PID)
	if err != nil {
		return fmt.Errorf("superctl's daemon: %w", err)
	}
	var sockets []int
	for _, d := range open {
		if _, ok := d.Socket(); ok {
			sockets = append(sockets, d.FD)
		}
	}
	return a.taken.GiveBack(a.pidfd, sockets, int(status.UID))
}

func (*tcpAddress) settle(context.Context) error { return nil }
