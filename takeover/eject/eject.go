// Package eject is the way back: it replaces an app of superctl by a plain systemd unit, on the same
// port and without losing a request.
//
// systemd binds the port for a socket unit, next to superctl's listener and with another user's
// rights, so this takes root. The gate keeps all connections with superctl until the plain server
// has answered its health check through that socket. Then all new connections go to the plain
// server, superctl's accept queue empties, its daemon is killed and its workers finish.
//
// Whatever fails before superctl is stopped leaves it serving as before. The daemon is stopped
// (SIGSTOP) from the last check to its end, so that it does not turn the gate. If this process is
// killed meanwhile, the watchdog of the unit restarts the daemon, which adopts its workers.
package eject

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/socket"
	"superctl/takeover/oldserver"
	"superctl/takeover/running"
)

// Options describe an eject.
type Options struct {
	Unit    string   // superctl's: superctl@APP.service
	Address string   // of the app's only listener, as the daemon has bound it
	Socket  string   // the socket unit of the plain server
	Service string   // the service that it activates
	Others  []string // services without a listener, started when superctl has ended

	// Single reports whether the live generation is the only one, and no change is in progress.
	Single func(ctx context.Context) (bool, error)
	// Prove asks the plain server for its health once.
	Prove func(ctx context.Context, dial func(context.Context) (net.Conn, error)) error
	// StartLimit limits how long the plain server may need until it is healthy.
	StartLimit time.Duration
	Drain      time.Duration // limit of superctl's own stop
	Run        func(ctx context.Context, args ...string) error
	Say        func(string)
}

const (
	// freezeLimit limits how long the daemon is stopped while its accept queue empties: its watchdog
	// ends it after 15 s.
	freezeLimit = 8 * time.Second
	proveAgain  = 200 * time.Millisecond
)

// KeptError is an eject that was given up: superctl serves as before.
type KeptError struct{ Err error }

func (e *KeptError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *KeptError) Unwrap() error { return e.Err }

// eject is one run.
type eject struct {
	Options
	daemon    running.Process
	pidfd     int
	listener  running.Listener
	taken     *socket.Taken
	uid       int // of the daemon
	successor *socket.Successor
}

// Run ejects the app. The units must be installed. It may be run again after any failure.
func Run(ctx context.Context, daemon running.Process, o Options) (report oldserver.Report, err error) {
	e := &eject{Options: o, daemon: daemon}
	if e.pidfd, err = daemon.Open(); err != nil {
		return report, &KeptError{fmt.Errorf("superctl's daemon: %w", err)}
	}
	defer func() { err = errors.Join(err, unix.Close(e.pidfd)) }()
	if err := e.take(ctx); err != nil {
		if e.taken != nil {
			err = errors.Join(err, e.goBack(), e.taken.Close())
		}
		return report, &KeptError{err}
	}
	defer func() { err = errors.Join(err, e.taken.Close()) }()
	if err := e.turn(ctx); err != nil {
		return report, &KeptError{errors.Join(err, e.goBack())}
	}
	return e.end(ctx)
}

// take duplicates the listener of the app, and lets systemd bind next to it.
func (e *eject) take(ctx context.Context) (err error) {
	status, err := proc.ReadStatus(e.daemon.PID)
	if err != nil {
		return fmt.Errorf("superctl's daemon: %w", err)
	}
	e.uid = int(status.UID)
	live, spares, err := e.only(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.signal(unix.SIGCONT)) }()
	for _, spare := range spares {
		if err := e.withdraw(spare); err != nil {
			return err
		}
	}
	if e.taken, err = e.duplicate(live); err != nil {
		return err
	}
	return e.taken.GiveTo(0) // systemd binds as root; the daemon can bind no more
}

func (e *eject) signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(e.pidfd, sig, nil, 0); err != nil {
		return fmt.Errorf("signal %v to superctl's daemon: %w", sig, err)
	}
	return nil
}

// freeze stops the daemon, and returns when it stands still.
func (e *eject) freeze(ctx context.Context) error {
	if err := e.signal(unix.SIGSTOP); err != nil {
		return err
	}
	for {
		stat, err := proc.ReadStat(e.daemon.PID)
		if err != nil || stat.State == 'T' {
			return err
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (e *eject) withdraw(spare socket.Listening) error {
	taken, err := e.duplicate(spare)
	if err != nil {
		return err
	}
	// It stays bound until the daemon closes it, and all sockets of the address need one user.
	return errors.Join(taken.Withdraw(), taken.GiveTo(0), taken.Close())
}

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
// daemon is stopped then, so that it changes nothing meanwhile.
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
			return live, nil, fmt.Errorf("not only the live generation has a listener on %s: wait until no change is in "+
				"progress, and set standby = \"0s\"", e.Address)
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
		case l.String() != e.Address:
		case slices.ContainsFunc(theirs, func(o socket.Listening) bool { return o.Inode == l.Inode }):
			used = append(used, l)
		default:
			spares = append(spares, l)
		}
	}
	return used, spares, nil
}

// pause waits for d, or returns the cause of the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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

// turn starts the plain server, proves it, and sends all new connections to it.
func (e *eject) turn(ctx context.Context) error {
	for _, unit := range []string{e.Socket, e.Service} {
		e.Say("systemctl start " + unit)
		if err := e.Run(ctx, "systemctl", "start", unit); err != nil {
			return err
		}
	}
	var err error
	if e.successor, err = e.taken.Successor(); err != nil {
		return err
	}
	if err := e.prove(ctx); err != nil {
		return err
	}
	// From here the daemon must not turn the gate, so a rule of its own cannot have answered.
	if err := e.freeze(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	if err := e.Prove(ctx, e.successor.Dial); err != nil {
		return err
	}
	if err := e.successor.Turn(); err != nil {
		return err
	}
	e.Say("all new connections reach " + e.Service)
	s, err := e.taken.Settle(ctx)
	if err == nil && s.Left > 0 {
		err = fmt.Errorf("%d connections still wait for superctl after %s", s.Left, freezeLimit)
	}
	return err
}

// prove asks the plain server until it is healthy.
func (e *eject) prove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.StartLimit)
	defer cancel()
	for {
		err := e.Prove(ctx, e.successor.Dial)
		if err == nil {
			e.Say(e.Service + " is healthy")
			return nil
		}
		if pause(ctx, proveAgain) != nil {
			return fmt.Errorf("%s is not healthy: %w (journalctl -u %s)", e.Service, err, e.Service)
		}
	}
}

// goBack undoes turn. Units that were not started are no error.
func (e *eject) goBack() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), e.Drain+time.Minute)
	defer cancel()
	if e.successor != nil {
		err = e.successor.TurnBack()
	}
	err = errors.Join(err, e.signal(unix.SIGCONT))
	err = errors.Join(err, e.Run(ctx, "systemctl", "stop", e.Socket, e.Service))
	return errors.Join(err, e.taken.GiveTo(e.uid))
}

// end ends superctl, and has the plain units start at the next boot.
func (e *eject) end(ctx context.Context) (oldserver.Report, error) {
	report, err := oldserver.Stop(ctx, &running.Server{
		Master: e.daemon, Kind: running.Superctl, Name: "superctl", Listeners: []running.Listener{e.listener},
		Manager: running.Manager{Kind: running.Systemd, Unit: e.Unit},
	}, oldserver.Options{Drain: e.Drain, Progress: e.Say})
	if err != nil {
		return report, err
	}
	for _, unit := range e.Others {
		e.Say("systemctl start " + unit)
		err = errors.Join(err, e.Run(ctx, "systemctl", "start", unit))
	}
	e.Say("systemctl disable " + e.Unit)
	err = errors.Join(err, e.Run(ctx, "systemctl", "disable", e.Unit))
	return report, errors.Join(err, e.Run(ctx, append([]string{"systemctl", "enable", e.Socket, e.Service}, e.Others...)...))
}
