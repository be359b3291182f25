//go:build linux

package checkcommand

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

	"superctl/cli/commandline"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/credentials"
	"superctl/notify"
)

// credentialsOfUnit returns the directory of the daemon's credentials, or "" if this command cannot
// see it.
func credentialsOfUnit(app string) string {
	if dir := os.Getenv(credentials.Variable); dir != "" {
		return dir
	}
	dir := "/run/credentials/superctl@" + app + ".service" // exists while the unit runs
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return dir
}

// checkNotify checks the secret of each notification target, as the daemon would read it.
func checkNotify(conf *config.Config, f *findings) {
	dir := credentialsOfUnit(conf.App)
	for i := range conf.Notify {
		t := &conf.Notify[i]
		if onlyDaemonReads(t, dir, f) {
			continue
		}
		path, err := t.Check(dir)
		text := "no secret needed"
		if path != "" {
			text = "secret in " + path
		}
		if err == nil && path != "" && t.Credential == "" {
			err = checkReadable(conf, t, path, f)
		}
		f.report(targetError(t, err), fmt.Sprintf("notify.%s notifies %s: %s", t.Name, t.Service, text))
	}
}

// checkReadable returns an error if the daemon, which may run as another user, cannot read a
// secret. It warns if every user of the machine can.
func checkReadable(conf *config.Config, t *notify.Target, path string, f *findings) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&0o004 != 0 {
		f.warn("notify.%s: every user of this machine can read %s: run chmod o-r on it", t.Name, path)
		return nil
	}
	uid, known, err := daemon.Owner(conf)
	if err != nil || !known || uid == 0 || int(uid) == os.Geteuid() {
		return nil //nolint:nilerr // no daemon has run yet, so its user is unknown
	}
	if st.Uid == uid && st.Mode&0o400 != 0 || st.Mode&0o040 != 0 && isMember(uid, st.Gid) {
		return nil
	}
	return fmt.Errorf("%s: the user of the daemon (uid %d) cannot read it: chown it to this user", path, uid)
}

func isMember(uid, gid uint32) bool {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return false
	}
	groups, err := u.GroupIds()
	return err == nil && slices.Contains(groups, strconv.FormatUint(uint64(gid), 10))
}

// testNotify sends a test message to each target.
func testNotify(ctx context.Context, conf *config.Config, f *findings) error {
	if len(conf.Notify) == 0 {
		return commandline.Usagef(
			"%s has no notification target: add a table [notify.NAME] with a service", conf.Path,
		)
	}
	opt := daemon.NotifyOptions(conf, credentialsOfUnit(conf.App))
	for i := range conf.Notify {
		t := &conf.Notify[i]
		if onlyDaemonReads(t, opt.Credentials, f) {
			continue
		}
		sent, err := notify.Try(ctx, opt, *t)
		if err == nil && !sent {
			f.warn("notify.%s: not tested, because %s would record a release that does not exist", t.Name, t.Service)
			continue
		}
		f.report(targetError(t, err), fmt.Sprintf("notify.%s: %s accepted a test message", t.Name, t.Service))
	}
	return nil
}

// onlyDaemonReads reports whether only the daemon can see the secret of a target, and warns if so.
func onlyDaemonReads(t *notify.Target, dir string, f *findings) bool {
	if t.Credential == "" || dir != "" {
		return false
	}
	f.warn("notify.%s: credential %q not checked: only the daemon can read it", t.Name, t.Credential)
	return true
}

// targetError adds the name of a target to its error.
func targetError(t *notify.Target, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("notify.%s: %w", t.Name, err)
}
