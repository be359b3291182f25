// Package takeover replaces a server that something else started by an app of superctl, in place: on
// the same port or path, and without losing a request. If the address cannot be shared, nginx moves to
// an address of the app's own (NginxMove).
//
// It is the part of it that needs root. It prepares the listener of the old server so that the app's
// unprivileged daemon can bind next to it, has the daemon switch to a release as it always does
// (the release is proved before it gets a connection), and then stops the old server. It keeps a
// duplicate of the old listener until the end, so that the accept queue outlives its server.
//
// Whatever fails before the switch leaves the old server as it was. Whatever fails after it leaves
// the app serving, and another run continues.
package takeover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"superctl/api"
	"superctl/daemon/control"
	"superctl/daemon/systemd"
	"superctl/socket"
	"superctl/takeover/nginx"
	"superctl/takeover/notice"
	"superctl/takeover/running"
)

// Options describe a takeover.
type Options struct {
	App     string
	Release string // the release to switch to: a name, or "latest"
	UID     int    // of the daemon
	Control string // path of the daemon's control socket
	// Addresses are those of the app's listeners, as in its config.
	Addresses []string
	Server    *running.Server
	Manager   running.Manager // of the server; known also when the server has ended
	Move      *NginxMove      // nil = in place

	Run   func(ctx context.Context, args ...string) error // runs a command as root
	Begun func(Step)
	Event func(api.Event) // of the switch
	Say   func(string)    // a short sentence on the running step
}

// Outcome is the result of a takeover.
type Outcome struct {
	Changed bool         // there was something to do
	Switch  *api.Outcome // of the app's switch; nil if the app was live already
	Settled time.Duration
	Stopped string // how the old server was stopped; "" if it had ended
}

// mostTries limits how often a step is repeated: the daemon may be restarted meanwhile.
const mostTries = 5

// FailedError is a takeover that was given up before the switch: the old server serves as before.
type FailedError struct {
	Step   Step
	Err    error
	Switch *api.Outcome // of a switch that was refused
}

func (e *FailedError) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Err) }

// Unwrap returns the reason.
func (e *FailedError) Unwrap() error { return e.Err }

// NothingError says that there is no old server, and that the app does not serve either.
type NothingError struct{ Unit, App string }

func (e *NothingError) Error() string {
	return fmt.Sprintf("%s does not run, and no release of %s is live: to start the app, run systemctl enable --now "+
		"superctl@%s, then superctl --app %s switch latest", e.Unit, e.App, e.App, e.App)
}

// takeover is one run.
type takeover struct {
	Options
	client  *control.Client
	taken   []*socket.Taken
	started bool // this run started the daemon
	enabled bool // this run enables the app's unit

	moved  bool           // nginx uses the app
	ending []nginx.Worker // may still use the old server

	out Outcome
}

// Run takes over. It may be run again after any failure.
func Run(ctx context.Context, o Options) (out *Outcome, err error) {
	t := &takeover{Options: o, client: control.NewClient(o.Control, o.App)}
	defer func() { err = errors.Join(err, t.release()) }()
	if err := t.take(); err != nil {
		return nil, &FailedError{Step: Share, Err: err}
	}
	return &t.out, t.steps(ctx)
}

// steps does one step after the other until nothing is left to do.
func (t *takeover) steps(ctx context.Context) error {
	tries := map[Step]int{}
	for {
		f, err := t.look(ctx)
		if err != nil {
			return err
		}
		if t.Server == nil && f.daemon != daemonLive {
			return &NothingError{t.Manager.Unit, t.App}
		}
		step := next(f)
		if t.Move != nil {
			step = nextMove(f)
		}
		if step == Done {
			return nil
		}
		if tries[step]++; tries[step] > mostTries {
			return t.failed(step, errors.New("it has to be done again and again"))
		}
		t.Begun(step)
		t.out.Changed = true
		t.fault("before " + string(step))
		if err := t.perform(ctx, step); err != nil {
			return t.failed(step, err)
		}
		t.fault("after " + string(step))
	}
}

func (t *takeover) perform(ctx context.Context, step Step) error {
	switch step {
	case Share:
		return t.share()
	case Start:
		t.started = true
		return t.Run(ctx, "systemctl", "start", t.unit())
	case Switch:
		return t.turn(ctx)
	case Move:
		return t.move(ctx)
	case Stop:
		return t.stop(ctx)
	case Enable:
		return t.enable(ctx)
	case Finish:
		return t.finish(ctx)
	case Done:
	}
	return nil
}

func (t *takeover) unit() string { return "superctl@" + t.App + ".service" }

// look looks up the facts.
func (t *takeover) look(ctx context.Context) (f facts, err error) {
	f.server = t.Server != nil && t.Server.Running()
	n, there, err := notice.Read(t.App)
	if err != nil {
		return f, err
	}
	f.noticed = there && t.knows(n)
	if f.daemon, err = t.daemon(ctx); err != nil {
		return f, err
	}
	own, err := systemd.FindService(ctx, t.unit())
	if err != nil {
		return f, err
	}
	f.own = own != nil && own.Enabled()
	f.units, f.moved = f.own, t.moved
	t.enabled = t.enabled || !f.own
	if t.Manager.Kind == running.Systemd {
		old, err := systemd.FindService(ctx, t.Manager.Unit)
		if err != nil {
			return f, err
		}
		f.units = f.units && (old == nil || !old.Enabled())
	}
	return f, nil
}

// knows reports whether a notice names all listeners of the old server. If it has ended, any notice
// does.
func (t *takeover) knows(n notice.Notice) bool {
	if t.Move != nil && t.Server != nil && (n.PID != t.Server.Master.PID || n.Start != t.Server.Master.Start) {
		return false
	}
	named := map[uint64]bool{}
	for _, c := range n.Cookies {
		named[c] = true
	}
	for _, l := range t.taken {
		if !named[l.Cookie()] {
			return false
		}
	}
	return true
}

// startTime limits how long a daemon that was killed needs until the next one answers.
const startTime = time.Minute

// daemon asks the daemon how far it is. One that systemd is about to start again is waited for.
func (t *takeover) daemon(ctx context.Context) (daemonState, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		st, err := t.client.Status(ctx)
		switch {
		case err == nil && st.Release != "" && st.Changing != nil:
			// A daemon that was killed may have to make the release live again: only then does the old
			// server stop.
		case err == nil && st.Release != "":
			return daemonLive, nil
		case err == nil:
			return daemonUp, nil
		}
		unit, err := systemd.FindService(ctx, t.unit())
		if err != nil {
			return daemonDown, err
		}
		if unit == nil || !unit.Wanted() {
			return daemonDown, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return daemonDown, fmt.Errorf("%s runs and is not ready: see journalctl -u %s", t.unit(), t.unit())
		}
	}
}

// turn has the daemon switch to the release. When ctx ends before the cutover, the daemon aborts.
func (t *takeover) turn(ctx context.Context) error {
	begun := time.Now()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		out, err := t.client.ChangeWhileConnected(ctx, api.Request{Kind: api.Switch, Release: t.Release}, t.onEvent)
		var busy *api.BusyError
		var lost *control.UnreachableError
		switch {
		case errors.As(err, &busy) && busy.Lock == nil &&
			(busy.Changing.Kind == startKind || time.Since(begun) < startTime):
			// The daemon's own start has to wait for us. The switch of an interrupted takeover is being
			// aborted, or has its cutover.
			select {
			case <-again.C:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case errors.As(err, &lost) && ctx.Err() == nil:
			t.Say("the daemon has ended; looking again")
			return nil
		case err != nil:
			return err
		}
		t.out.Switch = out
		if out.Result != api.Done {
			return &switchError{out}
		}
		return nil
	}
}

// startKind is the kind of the change by which a daemon starts.
const startKind = "start"

// switchError is a switch that was refused or reverted.
type switchError struct{ out *api.Outcome }

func (e *switchError) Error() string { return e.out.Error }

// onEvent passes on an event of the switch. When a switch is reverted nothing was live before, so
// the connections go back to the old server at once, and not only when the new workers are gone.
func (t *takeover) onEvent(e api.Event) {
	if e.Step == api.StepRevert {
		if err := t.restore(); err != nil {
			t.Say(err.Error())
		}
	}
	t.Event(e)
	t.fault("at " + e.Step)
}

// failed gives up if the app is not live: then the old server serves on, and everything is as it
// was.
func (t *takeover) failed(step Step, cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if t.serves(ctx) {
		return fmt.Errorf("%s: %w", step, cause)
	}
	failed := &FailedError{Step: step, Err: errors.Join(cause, t.giveUp(ctx))}
	var refused *switchError
	if errors.As(cause, &refused) {
		failed.Switch = refused.out
	}
	return failed
}

// serves reports whether the app serves instead of the old server.
func (t *takeover) serves(ctx context.Context) bool {
	switch {
	case t.Server == nil, !t.Server.Running():
		return true
	case t.Move != nil:
		return t.moved
	}
	st, err := t.daemon(ctx)
	return err == nil && st == daemonLive
}

// giveUp makes everything as it was, but for what does no harm (see socket.Taken.Share).
func (t *takeover) giveUp(ctx context.Context) error {
	err := t.restore()
	if t.Move != nil && t.enabled {
		err = errors.Join(err, t.Run(ctx, "systemctl", "disable", t.unit()))
	}
	if t.started {
		err = errors.Join(err, t.Run(ctx, "systemctl", "stop", t.unit()))
	}
	return errors.Join(err, notice.Remove(t.App))
}
