package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/credentials"
	"superctl/notify"
)

// credentialsOfUnit is where the daemon's credentials are, as far as a command can see: "" when
// they are not to be seen.
func credentialsOfUnit(app string) string {
	if dir := os.Getenv(credentials.Variable); dir != "" {
		return dir
	}
	dir := "/run/credentials/superctl@" + app + ".service" // of the unit that runs
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return dir
}

// checkNotify looks at the secret of each target, as the daemon would see it.
func checkNotify(conf *config.Config, f *findings) {
	dir := credentialsOfUnit(conf.App)
	for i := range conf.Notify {
		t := &conf.Notify[i]
		if unseen(t, dir, f) {
			continue
		}
		path, err := t.Check(dir)
		text := "it needs no secret"
		if path != "" {
			text = "its secret is in " + path
		}
		if err == nil && path != "" && t.Credential == "" {
			err = readable(conf, t, path, f)
		}
		f.report(ofTarget(t, err), fmt.Sprintf("notify.%s can tell %s: %s", t.Name, t.Service, text))
	}
}

// readable tells whether the daemon can read a secret, where it runs as somebody else than this
// command, and notes who else can.
func readable(conf *config.Config, t *notify.Target, path string, f *findings) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&0o004 != 0 {
		f.warn("notify.%s: everybody on this machine can read %s", t.Name, path)
		return nil
	}
	uid, known, err := daemon.Owner(conf)
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
func tryNotify(ctx context.Context, conf *config.Config, f *findings) error {
	if len(conf.Notify) == 0 {
		return &usageError{fmt.Errorf(
			"%s has no notification target: write a table [notify.NAME] with a service", conf.Path,
		)}
	}
	opt := daemon.NotifyOptions(conf, credentialsOfUnit(conf.App))
	for i := range conf.Notify {
		t := &conf.Notify[i]
		if unseen(t, opt.Credentials, f) {
			continue
		}
		sent, err := notify.Try(ctx, opt, *t)
		if err == nil && !sent {
			f.warn("notify.%s: not tried, it would be told of a release that nobody has made", t.Name)
			continue
		}
		f.report(ofTarget(t, err), fmt.Sprintf("notify.%s: %s has taken a test message", t.Name, t.Service))
	}
	return nil
}

// unseen reports whether the secret of a target is one that only the daemon can see.
func unseen(t *notify.Target, dir string, f *findings) bool {
	if t.Credential == "" || dir != "" {
		return false
	}
	f.warn("notify.%s: its credential %q can be seen by the daemon only", t.Name, t.Credential)
	return true
}

// ofTarget says whose error it is.
func ofTarget(t *notify.Target, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("notify.%s: %w", t.Name, err)
}
