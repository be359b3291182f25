package oldserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/takeover/running"
	"superctl/takeover/system"
)

// stopByManager has the server stopped by what started it, or by SIGTERM.
func stopByManager(ctx context.Context, t *stopping) error {
	m := t.server.Manager
	switch m.Kind {
	case running.Systemd:
		return system.Run(ctx, append([]string{"systemctl", "stop"}, units(t.server)...)...)
	case running.Supervisord:
		return system.Run(ctx, supervisorctl(m, "stop")...)
	case running.None:
	}
	return t.processes[0].signal(unix.SIGTERM)
}

func supervisorctl(m running.Manager, do string) []string {
	return append(append([]string{}, m.Control...), do, m.Program)
}

// endMaster kills a frozen master whose workers have ended, so that what started it does not start
// it again.
func endMaster(ctx context.Context, t *stopping) error {
	// The workers may have used up the limit; those of a daemon have only begun.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.drain+time.Minute)
	defer cancel()
	t.say("ending the master")
	var err error
	switch t.server.Manager.Kind {
	case running.Systemd:
		err = endUnit(ctx, t)
	case running.Supervisord:
		err = endProgram(ctx, t)
	case running.None:
		err = t.processes[0].signal(unix.SIGKILL)
	}
	if err != nil {
		return fmt.Errorf("%w; the master, process %d, is stopped and serves no one: kill -KILL %d",
			err, t.processes[0].pid, t.processes[0].pid)
	}
	await(ctx, t.processes[:1])
	return nil
}

// dropIn makes systemctl stop kill the main process. The usual stop sends SIGTERM and SIGCONT, after
// which gunicorn removes the path of its socket, and uWSGI starts its workers again.
const dropIn = `[Service]
Restart=no
ExecStop=
KillSignal=SIGKILL
SuccessExitStatus=SIGKILL
`

// endUnit stops a unit by killing its main process.
func endUnit(ctx context.Context, t *stopping) error {
	own := system.DropIn{Unit: t.server.Manager.Unit, Name: "zz-superctl-takeover"}
	err := own.Write(ctx, dropIn)
	if err == nil {
		err = system.Run(ctx, append([]string{"systemctl", "stop"}, units(t.server)...)...)
	}
	return errors.Join(err, own.Remove(ctx))
}

// endProgram has supervisord stop a frozen program, which takes no signal but SIGKILL, and kills it
// once supervisord has sent its own: from then on supervisord does not start it again.
func endProgram(ctx context.Context, t *stopping) error {
	done := make(chan error, 1)
	go func() { done <- system.Run(ctx, supervisorctl(t.server.Manager, "stop")...) }()
	master := t.processes[0]
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		status, err := proc.ReadStatus(master.pid)
		if err != nil || status.Pending() {
			break // killed by supervisord, or about to be by us
		}
		select {
		case err := <-done:
			return errors.Join(err, master.signal(unix.SIGKILL))
		default:
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	if err := master.signal(unix.SIGKILL); err != nil {
		return err
	}
	return <-done
}
