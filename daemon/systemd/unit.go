package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Intent is what happens to the unit after the daemon exits.
type Intent string

// The intents.
const (
	Stop    Intent = "stop"    // the unit stays down: stop all workers
	Restart Intent = "restart" // systemd starts another daemon at once: keep the workers
	Unknown Intent = "unknown" // systemd cannot be asked
)

const (
	// reexecTimeout is how long to wait for a systemd that re-executes itself (systemctl
	// daemon-reexec, part of every update of libc or systemd). It takes less than a second, more on
	// a busy machine.
	reexecTimeout = 20 * time.Second
	// askInterval is the interval between two questions to a systemd that does not answer: there is
	// no event for its return.
	askInterval = 100 * time.Millisecond
	// askTimeout bounds the wait for one answer.
	askTimeout = 2 * time.Second
)

// AwaitIntent is askIntent for a systemd that may be re-executing itself. If systemd does not come
// back, the intent is Unknown, which is no reason to stop a worker. On a machine without a system
// bus no systemd starts another daemon, so the intent is Stop.
func AwaitIntent(ctx context.Context) Intent {
	return awaitIntent(ctx, askIntent, reachable)
}

func awaitIntent(ctx context.Context, ask func(context.Context) (Intent, error), reachable func() bool) Intent {
	ctx, cancel := context.WithTimeout(ctx, reexecTimeout)
	defer cancel()
	for {
		one, end := context.WithTimeout(ctx, askTimeout)
		intent, err := ask(one)
		end()
		switch {
		case err == nil:
			return intent
		case !reachable():
			return Stop
		}
		select {
		case <-time.After(askInterval):
		case <-ctx.Done():
			return Unknown
		}
	}
}

// reachable reports whether the machine has a system bus on which systemd can be asked.
func reachable() bool {
	_, err := os.Stat("/run/dbus/system_bus_socket")
	return err == nil
}

// askIntent asks systemd why the daemon is being terminated. A stop and a restart send the same
// signal; the unit's job distinguishes them. Without a job the signal was sent by hand, and the
// unit's Restart= decides.
func askIntent(ctx context.Context) (Intent, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" && os.Getenv("SERVICE_RESULT") == "" {
		return Stop, nil // the daemon was not started by systemd
	}
	u, err := findUnit(ctx)
	if err != nil {
		return Unknown, err
	}
	defer u.close()
	jobs, err := u.conn.ListJobsContext(ctx)
	if err != nil {
		return Unknown, fmt.Errorf("ask systemd for its jobs: %w", err)
	}
	for _, j := range jobs {
		if j.Unit != u.name {
			continue
		}
		switch j.JobType {
		case "restart", "try-restart", "start":
			return Restart, nil
		case "stop":
			return Stop, nil
		}
	}
	policy, err := u.serviceProperty(ctx, "Restart")
	if err != nil {
		return Unknown, err
	}
	if policy == "always" {
		return Restart, nil
	}
	return Stop, nil
}

// UsesDelegateSubgroup reports whether systemd starts the daemon in a control group below the
// unit's own (systemd 254, DelegateSubgroup=). It returns false if systemd cannot be asked.
func UsesDelegateSubgroup(ctx context.Context) bool {
	u, err := findUnit(ctx)
	if err != nil {
		return false
	}
	defer u.close()
	group, err := u.serviceProperty(ctx, "DelegateSubgroup")
	return err == nil && group != ""
}

// unit is the unit that this process runs in.
type unit struct {
	conn *dbus.Conn
	name string
}

func findUnit(ctx context.Context) (*unit, error) {
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask systemd: %w", err)
	}
	name, err := conn.GetUnitNameByPID(ctx, uint32(os.Getpid()))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask systemd for the unit: %w", err)
	}
	return &unit{conn, name}, nil
}

func (u *unit) close() { u.conn.Close() }

// serviceProperty returns a property of the service.
func (u *unit) serviceProperty(ctx context.Context, property string) (any, error) {
	p, err := u.conn.GetUnitTypePropertyContext(ctx, u.name, "Service", property)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s of %s: %w", property, u.name, err)
	}
	if p == nil {
		return nil, errors.New("systemd has no " + property)
	}
	return p.Value.Value(), nil
}
