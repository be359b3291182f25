package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"superctl/cli/config"
	"superctl/cli/notify"
	"superctl/supervisor"
)

// newTeam makes what tells the team of changes.
func newTeam(c *config.Config, log *zap.Logger) *notify.Sender {
	opt := notifyOptions(c, os.Getenv(credentialsVar))
	opt.Dir, opt.Log = filepath.Join(c.State, "outbox"), log
	s := notify.New(opt)
	s.Configure(c.Notify)
	return s
}

func notifyOptions(c *config.Config, credentials string) notify.Options {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return notify.Options{App: c.App, Host: host, Version: version(), Credentials: credentials}
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

// credentialsOfUnit is where the daemon's credentials are, as far as a command can see: "" when they are not to be seen.
func credentialsOfUnit(app string) string {
	if dir := os.Getenv(credentialsVar); dir != "" {
		return dir
	}
	dir := "/run/credentials/superctl@" + app + ".service" // of the unit that runs
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return dir
}

// checkNotify looks at the secret of each target, as the daemon would see it.
func (c *command) checkNotify(conf *config.Config, report func(err error, good string)) {
	credentials := credentialsOfUnit(conf.App)
	for i := range conf.Notify {
		t := &conf.Notify[i]
		if c.unseen(t, credentials) {
			continue
		}
		path, err := t.Check(credentials)
		text := "it needs no secret"
		if path != "" {
			text = "its secret is in " + path
		}
		if err == nil && path != "" && t.Credential == "" {
			err = c.readable(conf, t, path)
		}
		report(ofTarget(t, err), fmt.Sprintf("notify.%s can tell %s: %s", t.Name, t.Service, text))
	}
}

// readable tells whether the daemon can read a secret, where it runs as somebody else than this command, and notes who else can.
func (c *command) readable(conf *config.Config, t *notify.Target, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&0o004 != 0 {
		fmt.Fprintf(c.stdout, "%s notify.%s: everybody on this machine can read %s\n", paletteFor(c.stdout).yellow("note"), t.Name, path)
		return nil
	}
	uid, known, err := supervisor.StateOwner(conf.State)
	if err != nil || !known || uid == 0 || int(uid) == os.Geteuid() {
		return nil //nolint:nilerr // no daemon has run, so nobody knows as whom it will
	}
	if st.Uid == uid && st.Mode&0o400 != 0 || st.Mode&0o040 != 0 && isMember(uid, st.Gid) {
		return nil
	}
	return fmt.Errorf("%s cannot be read by the user of the daemon (uid %d): chown it", path, uid)
}

func isMember(uid, gid uint32) bool {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return false
	}
	groups, err := u.GroupIds()
	return err == nil && slices.Contains(groups, strconv.FormatUint(uint64(gid), 10))
}

// tryNotify sends a test message to each target.
func (c *command) tryNotify(ctx context.Context, conf *config.Config) error {
	if len(conf.Notify) == 0 {
		return &usageError{fmt.Errorf("%s has nobody to tell: write a table [notify.NAME] with a service", conf.Path)}
	}
	p := paletteFor(c.stdout)
	opt := notifyOptions(conf, credentialsOfUnit(conf.App))
	bad := 0
	for i := range conf.Notify {
		t := &conf.Notify[i]
		if c.unseen(t, opt.Credentials) {
			continue
		}
		sent, err := notify.Try(ctx, opt, *t)
		switch {
		case err != nil:
			bad++
			fmt.Fprintf(c.stdout, "%s %v\n", p.red("bad "), ofTarget(t, err))
		case !sent:
			fmt.Fprintf(c.stdout, "%s notify.%s: not tried, it would be told of a release that nobody has made\n", p.yellow("note"), t.Name)
		default:
			fmt.Fprintf(c.stdout, "%s notify.%s: %s has taken a test message\n", p.green("good"), t.Name, t.Service)
		}
	}
	if bad > 0 {
		return fmt.Errorf("check: %d problems", bad)
	}
	return nil
}

// unseen tells of a target whose secret the daemon alone can see.
func (c *command) unseen(t *notify.Target, credentials string) bool {
	if t.Credential == "" || credentials != "" {
		return false
	}
	fmt.Fprintf(c.stdout, "%s notify.%s: its credential %q can be seen by the daemon only\n", paletteFor(c.stdout).yellow("note"), t.Name, t.Credential)
	return true
}

// ofTarget says whose error it is.
func ofTarget(t *notify.Target, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("notify.%s: %w", t.Name, err)
}
