package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Intent is what is to become of the unit when the daemon ends.
type Intent string

// The intents.
const (
	Stop    Intent = "stop"    // it stays down: everything is to end
	Restart Intent = "restart" // another daemon starts at once: workers are to go on
	Unknown Intent = "unknown" // systemd cannot be asked
)

const (
	// reexecTime is how long systemd may be away: it takes below a second to execute itself anew (systemctl daemon-reexec, which
	// every update of libc or systemd does), more on a busy machine.
	reexecTime = 20 * time.Second
	// askEvery is how long to wait between two questions to a systemd that is away: nothing tells when it is back.
	askEvery = 100 * time.Millisecond
	// oneAsk is how long one question may take.
	oneAsk = 2 * time.Second
)

// AwaitIntent is AskIntent for a systemd that may be away for a moment. When it stays away, the intent is Unknown, and it is no
// reason to end anything. A machine without a bus to ask on has no systemd that starts another daemon: that is a Stop.
func AwaitIntent(ctx context.Context) Intent {
	return awaitIntent(ctx, AskIntent, reachable)
}

func awaitIntent(ctx context.Context, ask func(context.Context) (Intent, error), reachable func() bool) Intent {
	ctx, cancel := context.WithTimeout(ctx, reexecTime)
	defer cancel()
	for {
		one, end := context.WithTimeout(ctx, oneAsk)
		intent, err := ask(one)
		end()
		switch {
		case err == nil:
			return intent
		case !reachable():
			return Stop
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
			return Unknown
		}
	}
}

// reachable reports whether there is a bus on which systemd answers when it is there.
func reachable() bool {
	_, err := os.Stat("/run/dbus/system_bus_socket")
	return err == nil
}

// AskIntent asks systemd why the daemon is to end. A stop and a restart are the same signal; the unit's job tells them
// apart. Without a job somebody has sent the signal by hand, and the unit's Restart= decides.
func AskIntent(ctx context.Context) (Intent, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" && os.Getenv("SERVICE_RESULT") == "" {
		return Stop, nil // nobody starts another
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
	policy, err := u.service(ctx, "Restart")
	if err != nil {
		return Unknown, err
	}
	if policy == "always" {
		return Restart, nil
	}
	return Stop, nil
}

// StartsApart tells whether systemd starts the daemon in a control group below the unit's own: systemd 254 with
// DelegateSubgroup=. Where systemd cannot be asked, it does not.
func StartsApart(ctx context.Context) bool {
	u, err := findUnit(ctx)
	if err != nil {
		return false
	}
	defer u.close()
	group, err := u.service(ctx, "DelegateSubgroup")
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

// service is a property of the service.
func (u *unit) service(ctx context.Context, property string) (any, error) {
	p, err := u.conn.GetUnitTypePropertyContext(ctx, u.name, "Service", property)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s of %s: %w", property, u.name, err)
	}
	if p == nil {
		return nil, errors.New("systemd has no " + property)
	}
	return p.Value.Value(), nil
}
