package daemon

import (
	"context"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/notify"
)

// newTeam makes what tells the team of changes.
func newTeam(c *config.Config, log *zap.Logger) *notify.Sender {
	opt := NotifyOptions(c, os.Getenv(credentials.Variable))
	opt.Dir, opt.Log = filepath.Join(c.State, "outbox"), log
	s := notify.New(opt)
	s.Configure(c.Notify)
	return s
}

// NotifyOptions returns how the notify targets of an app are told, with dir as the directory of the
// unit's credentials.
func NotifyOptions(c *config.Config, dir string) notify.Options {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return notify.Options{App: c.App, Host: host, Version: Version(), Credentials: dir}
}

// tellTeam delivers until ctx ends, and never beside the daemon before this one: two would send
// everything twice.
func (d *daemon) tellTeam(ctx context.Context) {
	if err := d.renewal.Alone(ctx); ctx.Err() != nil {
		return
	} else if err != nil {
		d.log.Warn("the end of the daemon before this one", zap.Error(err))
	}
	d.team.Run(ctx)
}
