// Package eject is the way back: it replaces an app of superctl by plain systemd units, on the same
// address and without losing a request.
//
// systemd binds a listener for the socket unit next to superctl's, which takes root. superctl keeps
// all connections until the plain server has answered its health check through that listener. Then
// all new connections go to the plain server, superctl's accept queue empties, its daemon is killed
// and its workers finish.
//
// Whatever fails before superctl is stopped leaves it serving as before. The daemon is frozen
// (SIGSTOP) from the last check to its end, so that it does not take the connections back. If this
// process is killed meanwhile, the watchdog of the unit restarts the daemon, which adopts its
// workers. Another run of the same command finds out how far the last one came, and goes on.
package eject

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/socket"
	"superctl/takeover/oldserver"
	"superctl/takeover/running"
	"superctl/takeover/system"
)

// Options describe an eject.
type Options struct {
	Unit    string   // superctl's: superctl@APP.service
	Address string   // of the app's only listener, as the daemon has bound it
	Path    string   // of a unix socket; "" = TCP
	Socket  string   // the socket unit of the plain server
	Service string   // the service that it activates
	Others  []string // services without a listener, started in this order when superctl has ended

	// Single reports whether the live generation is the only one, and no change is in progress.
	Single func(ctx context.Context) (bool, error)
	// Prove asks the plain server for its health once.
	Prove func(ctx context.Context, dial func(context.Context) (net.Conn, error)) error
	// StartLimit limits how long the plain server may need until it is healthy.
	StartLimit time.Duration
	Drain      time.Duration // limit of superctl's own stop
	Lock       *Lock
	Say        func(string)
}

const (
	// freezeLimit limits how long the daemon is frozen while its accept queue empties: its watchdog
	// ends it after 15 s.
	freezeLimit = 8 * time.Second
	proveAgain  = 200 * time.Millisecond
)

// KeptError is an eject that was given up: superctl serves as before.
type KeptError struct{ Err error }

func (e *KeptError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *KeptError) Unwrap() error { return e.Err }

// address is what differs between a port and a unix socket.
type address interface {
	// open prepares the address for the socket unit.
	open(ctx context.Context) error
	// bound returns the listener that systemd has made for the socket unit.
	bound() (successor, error)
	// undo undoes open, when the units have been stopped.
	undo(ctx context.Context) error
	// settle does what has to wait for superctl's end.
	settle(ctx context.Context) error
}

// successor is the listener of the plain server.
type successor interface {
	Dial(ctx context.Context) (net.Conn, error)
	Turn() error     // sends all new connections to the plain server
	TurnBack() error // sends them to superctl
}

// eject is one run.
type eject struct {
	Options
	address address

	daemon   running.Process
	pidfd    int
	listener running.Listener
	spares   []socket.Listening
	taken    *socket.Taken
	plain    successor
	started  bool // this run has started the units
}

// Run ejects the app. The units must be installed. daemon is superctl's, or the zero value if it has
// ended in an earlier run. It may be run again after any failure.
func Run(ctx context.Context, daemon running.Process, o Options) (report oldserver.Report, err error) {
	e := newEject(daemon, o)
	if daemon.PID == 0 {
		return report, e.finish(ctx)
	}
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
	ctx = context.WithoutCancel(ctx) // the plain server serves: going on is the safe way
	if report, err = e.stop(ctx); err != nil {
		return report, err
	}
	return report, e.finish(ctx)
}

func newEject(daemon running.Process, o Options) *eject {
	e := &eject{Options: o, daemon: daemon}
	e.address = &tcpAddress{e}
	if o.Path != "" {
		e.address = &pathAddress{eject: e}
	}
	return e
}

// take duplicates the listener of the live generation, and prepares its address.
func (e *eject) take(ctx context.Context) (err error) {
	live, spares, err := e.only(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.signal(unix.SIGCONT)) }()
	e.spares = spares
	if e.taken, err = e.duplicate(live); err != nil {
		return err
	}
	return e.address.open(ctx)
}

// Undo takes back what a run that was killed has left: all new connections go to superctl, the plain
// units are stopped, and the daemon can bind its address again. Its daemon must run. It does no harm
// when there is nothing to take back.
func Undo(ctx context.Context, daemon running.Process, o Options) (err error) {
	e := newEject(daemon, o)
	if e.pidfd, err = daemon.Open(); err != nil {
		return fmt.Errorf("superctl's daemon: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(e.pidfd)) }()
	// The daemon is not frozen: it directs all connections to its own listener again, if it can.
	used, spares, err := e.listeners()
	if err != nil {
		return err
	}
	own := append(used, spares...)
	if len(own) == 0 {
		return fmt.Errorf("superctl's daemon does not listen on %s", e.Address)
	}
	if e.taken, err = e.duplicate(own[0]); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.taken.Close()) }()
	if plain, err := e.address.bound(); err == nil { // else the plain server has no listener next to superctl's
		e.plain = plain
	}
	e.started = true
	e.Say("send all new connections to superctl, and stop " + e.Service)
	return e.goBack()
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
		if err != nil || stat.State == stopped {
			return err
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// turn starts the plain server, proves it, and sends all new connections to it.
func (e *eject) turn(ctx context.Context) (err error) {
	fault("before start")
	e.started = true
	for _, unit := range []string{e.Socket, e.Service} {
		e.Say("systemctl start " + unit)
		if err := system.Run(ctx, "systemctl", "start", unit); err != nil {
			return err
		}
		fault("after start " + filepath.Ext(unit))
	}
	if e.plain, err = e.address.bound(); err != nil {
		return err
	}
	if err := e.prove(ctx); err != nil {
		return err
	}
	fault("after prove")
	// From here the daemon must not turn the gate, so a rule of its own cannot have answered.
	if err := e.freeze(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	if err := e.Prove(ctx, e.plain.Dial); err != nil {
		return err
	}
	fault("before turn")
	if err := e.plain.Turn(); err != nil {
		return err
	}
	fault("after turn")
	e.Say("send all new connections to " + e.Service)
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), freezeLimit) // going on is the safe way
	defer cancel()
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
		err := e.Prove(ctx, e.plain.Dial)
		if err == nil {
			e.Say("prove " + e.Service + ": it is healthy")
			return nil
		}
		if pause(ctx, proveAgain) != nil {
			return fmt.Errorf("%s is not healthy: %w: see journalctl -u %s", e.Service, err, e.Service)
		}
	}
}

// goBack undoes take and turn. Units that were not started are no error.
func (e *eject) goBack() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), e.Drain+time.Minute)
	defer cancel()
	if e.plain != nil {
		err = e.plain.TurnBack()
	}
	err = errors.Join(err, e.signal(unix.SIGCONT))
	if e.started {
		err = errors.Join(err, system.Run(ctx, "systemctl", "stop", e.Socket, e.Service))
	}
	return errors.Join(err, e.address.undo(ctx))
}

// stop kills the daemon, and has its workers finish.
func (e *eject) stop(ctx context.Context) (oldserver.Report, error) {
	fault("before stop")
	if err := e.Lock.lend(); err != nil {
		return oldserver.Report{}, err
	}
	report, err := oldserver.Stop(ctx, &running.Server{
		Master: e.daemon, Kind: running.Superctl, Name: "superctl", Listeners: []running.Listener{e.listener},
		Manager: running.Manager{Kind: running.Systemd, Unit: e.Unit},
	}, oldserver.Options{Drain: e.Drain, Progress: e.Say})
	fault("after stop")
	return report, err
}

// finish starts the background processes when superctl has ended, and has the plain units start at
// the next boot.
func (e *eject) finish(ctx context.Context) error {
	err := e.address.settle(ctx)
	fault("after settle")
	for _, unit := range e.Others {
		e.Say("systemctl start " + unit)
		err = errors.Join(err, system.Run(ctx, "systemctl", "start", unit))
	}
	fault("after others")
	e.Say("systemctl disable " + e.Unit + ", and enable " + e.Service)
	err = errors.Join(err, system.Run(ctx, "systemctl", "disable", e.Unit))
	fault("after disable")
	return errors.Join(err, system.Run(ctx, append([]string{"systemctl", "enable", e.Socket, e.Service}, e.Others...)...))
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
