package daemon

import (
	"context"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/notify"
	"superctl/supervisor"
	"superctl/version"
)

// newTeam returns the sender of notifications about changes.
func newTeam(c *config.Config, log *zap.Logger) *notify.Sender {
	opt := NotifyOptions(c, os.Getenv(credentials.Variable))
	opt.Dir, opt.Log = filepath.Join(c.State, "outbox"), log
	s := notify.New(opt)
	s.Configure(c.Notify)
	return s
}

// NotifyOptions returns the options for sending notifications of an app. dir is the directory of
// the unit's credentials.
func NotifyOptions(c *config.Config, dir string) notify.Options {
	return notify.Options{App: c.App, Host: hostName(), Version: version.String(), Credentials: dir}
}

// controller executes requests of commands: the supervisor executes changes, and the sender of
// notifications announces runs.
type controller struct {
	*supervisor.Supervisor
	app     string
	team    *notify.Sender
	changes *changeTotals
}

// App returns the name of the app.
func (c controller) App() string { return c.app }

// Lock locks the app for a run. Meanwhile the team is not told how changes of the run end here: the
// client that holds the lock announces the end of the run on all hosts.
func (c controller) Lock(ctx context.Context, l api.Lock, locked func()) error {
	release := func() {}
	defer func() { release() }()
	return c.Supervisor.Lock(ctx, l, func() {
		release = c.team.Hold(l.Run)
		locked()
	})
}

// Announce notifies the team of the end of a run.
func (c controller) Announce(r api.RunReport) error { return c.team.Announce(r) }

// hostName returns the name of the host for people.
func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return host
}

// sendNotifications delivers notifications until ctx ends. It first waits for the end of the
// previous daemon, because two senders would deliver everything twice.
func (d *daemon) sendNotifications(ctx context.Context) {
	if err := d.upgrader.WaitForParent(ctx); ctx.Err() != nil {
		return
	} else if err != nil {
		d.log.Warn("wait for the end of the previous daemon", zap.Error(err))
	}
	d.team.Run(ctx)
}
