package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"superctl/cli/config"
	"superctl/cli/notify"
)

// newTeam makes what tells the team of changes.
func newTeam(c *config.Config, log *zap.Logger) *notify.Sender {
	host, err := os.Hostname()
	if err != nil {
		log.Warn("the name of this host is not known", zap.Error(err))
	}
	s := notify.New(notify.Options{Dir: filepath.Join(c.State, "outbox"), App: c.App, Host: cmp.Or(host, "?"), Version: version(), Log: log})
	s.Configure(c.Notify)
	return s
}

// tellTeam delivers until ctx ends, and never beside the daemon before this one: two would send everything twice.
func (d *daemon) tellTeam(ctx context.Context) {
	if err := d.renewal.Alone(ctx); ctx.Err() != nil {
		return
	} else if err != nil {
		d.log.Warn("the end of the daemon before this one", zap.Error(err))
	}
	d.team.Run(ctx)
}

// checkNotify looks at the secret of each target, as the daemon would see it.
func (c *command) checkNotify(conf *config.Config, report func(err error, good string), note func(text string)) {
	credentials := os.Getenv(credentialsVar)
	if dir := "/run/credentials/superctl@" + conf.App + ".service"; credentials == "" {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			credentials = dir // of the unit that runs
		}
	}
	for i := range conf.Notify {
		t := &conf.Notify[i]
		name := "notify." + t.Name
		if t.Credential != "" && credentials == "" {
			note(fmt.Sprintf("%s: its credential %q can be seen by the daemon only", name, t.Credential))
			continue
		}
		text, err := t.Check(credentials)
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		report(err, name+" can tell "+t.Service+": "+text)
	}
}
