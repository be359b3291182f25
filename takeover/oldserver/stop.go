package oldserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"superctl/takeover/rescue"
	"superctl/takeover/running"
)

// killLimit is how long killed processes may take to end.
const killLimit = 10 * time.Second

// stopping is a stop in progress.
type stopping struct {
	server    *running.Server
	processes []process // the master first
	say       func(string)
	idle      bool
	drain     time.Duration
	rescue    *rescue.Rescue // nil if none helps
	report    Report
}

// stop stops the server in this process. It returns when the server has ended; finish waits for the
// connections that are still held.
func stop(ctx context.Context, s *running.Server, o Options) (report Report, finish func() error, err error) {
	finish = func() error { return nil }
	list, err := processes(s)
	if err != nil || len(list) == 0 {
		return Report{}, finish, err
	}
	t := &stopping{server: s, processes: list, drain: o.Drain, say: o.Progress, idle: o.Idle}
	t.report.Method, _ = Describe(s)
	if o.Idle {
		t.report.Method = DescribeIdle(s)
	}
	defer func() { err = errors.Join(err, closeAll(t.processes)) }()
	if rescues(s) && !o.Idle {
		if finish, err = t.startRescue(ctx); err != nil {
			return t.report, finish, err
		}
	}
	drain, cancel := context.WithTimeoutCause(ctx, o.Drain, fmt.Errorf("the old server did not finish within %v", o.Drain))
	defer cancel()
	if err = t.stop(drain); err != nil && drain.Err() == nil {
		t.giveUp() // the server goes on, and closes connections as it likes
		return t.report, finish, err
	}
	err = t.kill(ctx, await(drain, t.processes))
	if t.rescue != nil {
		n := t.rescue.Report()
		t.report.Rescued, t.report.Relayed = n.Held, n.Relayed
	}
	return t.report, finish, err
}

// startRescue holds the connections of the server.
func (t *stopping) startRescue(ctx context.Context) (finish func() error, err error) {
	o := rescue.Options{}
	for _, l := range t.server.Listeners {
		o.Listeners = append(o.Listeners, l.Listening)
	}
	for _, p := range t.processes {
		o.PIDs = append(o.PIDs, p.pid)
	}
	if t.rescue, err = rescue.Hold(o); err != nil {
		return func() error { return nil }, err
	}
	done := make(chan error, 1)
	go func() { done <- t.rescue.Run(ctx) }()
	if n := t.rescue.Report().Held; n > 0 {
		t.say(fmt.Sprintf("holding %d kept connections", n))
	}
	return func() error { return <-done }, nil
}

func (t *stopping) stop(ctx context.Context) error {
	if t.idle {
		return t.stopIdle(ctx)
	}
	switch methodOf(t.server) {
	case freeze:
		return t.freeze(ctx, t.tell)
	case quiet:
		return t.freeze(ctx, t.tellQuietly)
	case orphan:
		return t.orphan(ctx)
	case pin:
		unpin, err := pinPaths(t.server)
		if err != nil {
			return err
		}
		err = t.terminate(ctx)
		if err == nil {
			await(ctx, t.processes) // it removes the path as its last act
		}
		return errors.Join(err, unpin())
	case terminate:
	}
	return t.terminate(ctx)
}

// stopIdle stops a server that has no connections any more. uWSGI reloads on SIGTERM.
func (t *stopping) stopIdle(ctx context.Context) error {
	switch s := t.server; {
	case s.Kind == running.UWSGI && (s.NoMaster || s.Router):
		return endMaster(ctx, t)
	case s.Kind == running.UWSGI:
		return t.freeze(ctx, t.tell)
	}
	return t.terminate(ctx)
}

// terminate has the server stopped by what started it.
func (t *stopping) terminate(ctx context.Context) error {
	t.say(ask(t.server))
	return stopByManager(ctx, t)
}

// freeze stops the master, so that it neither starts workers nor removes the path of its socket, has
// the workers finish, and then kills the master.
func (t *stopping) freeze(ctx context.Context, tell func(context.Context, process) error) error {
	t.say(fmt.Sprintf("freezing the master, process %d", t.processes[0].pid))
	ended, err := t.processes[0].stop(ctx)
	if err != nil || ended {
		return errors.Join(err, t.processes[0].signal(unix.SIGCONT))
	}
	// The master may have started workers before it stood still.
	fresh, err := processes(t.server)
	if err != nil || len(fresh) == 0 {
		return err
	}
	err = closeAll(t.processes)
	t.processes = fresh
	workers := fresh[1:]
	t.say(fmt.Sprintf("%d workers finish their requests", len(workers)))
	for _, p := range workers {
		err = errors.Join(err, tell(ctx, p))
	}
	t.killLeft(await(ctx, workers))
	return errors.Join(err, endMaster(ctx, t))
}

// orphan stops and kills a daemon. What its unit does after it (superctl end) has the workers finish.
func (t *stopping) orphan(ctx context.Context) error {
	ended, err := t.processes[0].stop(ctx)
	if err != nil || ended {
		return err
	}
	return endMaster(ctx, t)
}

func (t *stopping) tell(_ context.Context, p process) error { return p.signal(t.finishSignal()) }

func (t *stopping) tellQuietly(ctx context.Context, p process) error {
	sure, err := p.signalQuietly(ctx, t.finishSignal(), t.server.Listeners)
	if !sure && err == nil {
		t.report.Unsure = append(t.report.Unsure, p.pid)
	}
	return err
}

// finishSignal is the signal on which a worker finishes its requests and ends.
func (t *stopping) finishSignal() unix.Signal {
	if t.server.Kind == running.UWSGI {
		return unix.SIGHUP
	}
	return unix.SIGTERM
}

func (t *stopping) giveUp() {
	if t.rescue != nil {
		t.rescue.GiveUp()
	}
}

// kill kills the processes that have not ended, and waits for their end.
func (t *stopping) kill(ctx context.Context, left []process) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), killLimit, errors.New("killed processes do not end"))
	defer cancel()
	t.killLeft(left)
	if left = await(ctx, left); len(left) > 0 {
		return fmt.Errorf("process %d of the old server does not end: %w", left[0].pid, context.Cause(ctx))
	}
	return nil
}

// killLeft kills processes. Their connections are not idle, so that no request of them could be
// relayed.
func (t *stopping) killLeft(left []process) {
	if len(left) == 0 {
		return
	}
	t.say(fmt.Sprintf("killing %d processes that did not finish in time", len(left)))
	t.giveUp()
	for _, p := range left {
		if p.signal(unix.SIGKILL) == nil {
			t.report.Killed++
		}
	}
}
