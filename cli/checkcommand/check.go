//go:build linux

package checkcommand

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/releasecommand"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/plain"
	"superctl/releases"
)

// Check is the command superctl check.
func Check(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "check", Usage: "check the config, the releases and the sockets, or try a release",
		UsageText: "superctl check [RELEASE | --notify] [--json]",
		Description: `Without RELEASE: checks the config, the releases and the addresses as the daemon does when it
starts. With RELEASE: boots the release on a private socket, runs its health check, and stops it;
with [django] it first compares the migrations of the release with the database. The running app is
not touched, and superctl writes nothing.

If you are root, the check runs as the service does: as its user, in the sandbox of its unit.

   superctl check
   superctl check 2026-11-23-1
   superctl check --notify           send a test message to each notification target`,
		Flags: []cli.Flag{
			&cli.BoolFlag{
				Name: "notify", Usage: "send a test message to each [notify] target, and check nothing else",
			},
			commandline.JSONFlag(), &cli.StringFlag{Name: insideFlag, Hidden: true},
		},
		Action: checks{c}.run,
	}
}

// checks is the command check: of the config, or of a release.
type checks struct{ *command }

func (c checks) run(cc *cli.Context) error {
	most := 1
	if cc.Bool("notify") {
		most = 0
	}
	if err := commandline.Arguments(cc, 0, most); err != nil {
		return err
	}
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	word, err := app.ReleaseName(conf, cc.Args().First())
	if err != nil {
		return err
	}
	if done, err := c.asService(cc, conf, word); done {
		return err
	}
	if cc.NArg() == 1 {
		u, err := app.WorkersUser(conf)
		if err != nil {
			return err
		}
		return c.tryRelease(cc, conf, u, word)
	}
	f := c.print().newFindings(cc.Context, cc, conf)
	if cc.Bool("notify") {
		err = testNotify(cc.Context, conf, f)
	} else {
		checkConfig(conf, f)
		checkHost(conf, f)
	}
	return errors.Join(err, c.print().check(f, cc.Bool("json")))
}

// checkConfig checks what the config says, against the newest release. With checkHost it is everything
// that the daemon needs to start.
func checkConfig(conf *config.Config, f *findings) {
	f.ok("config %s", conf.Path)
	for _, w := range conf.Warnings {
		f.warn("%s", w)
	}
	checkProcesses(conf, f)
	checkCredentials(conf, f)
	checkSecrets(conf, f)
	shared := releases.Sharing{Paths: conf.Shared, Owner: daemon.OwnerOf(conf)}
	for _, name := range slices.Sorted(maps.Keys(conf.Shared)) {
		f.report(shared.CheckTarget(name), fmt.Sprintf("shared.%s is %s", name, conf.Shared[name]))
	}
	checkAssets(conf, f)
	checkCrons(conf, f, time.Now())
	checkHooks(conf, f)
	checkNotify(conf, f)
}

// checkHost checks what the daemon needs of this machine, and how the running one is, if any.
func checkHost(conf *config.Config, f *findings) {
	ctx, cancel := context.WithTimeout(context.Background(), app.AskTime)
	defer cancel()
	st, asked := control.NewClient(conf.Control, conf.App).Status(ctx)
	checkCounted(conf, &st, f)
	checkAddresses(conf, &st, asked, f)
	checkDirectories(conf, asked, f)
	store, err := conf.OpenStore()
	f.report(err, "releases in "+conf.Releases)
	if err != nil {
		return
	}
	if conf.Current != "" {
		f.report(store.Linkable(), "current link "+conf.Current)
	}
	if asked == nil { // a daemon runs, and this user may ask it
		checkRunning(&st, store, f)
	} else {
		checkFirstStart(conf, store, f)
	}
	if err := checkReleases(conf, f); err != nil {
		f.report(err, "")
	}
	if asked == nil {
		checkInForce(conf, &st, f)
	}
}

// checkInForce warns of a config that the daemon has not read yet. It comes last, because a reload may
// have to wait for what the other checks have found.
func checkInForce(conf *config.Config, st *api.Status, f *findings) {
	text := notInForce(conf, st)
	if text == "" {
		return
	}
	if f.Problems > 0 {
		text += ", once the problems above are fixed"
	}
	f.warn("%s", text)
}

// checkAssets checks whether the daemon can publish static files, and whether releases share a
// manifest of them.
func checkAssets(conf *config.Config, f *findings) {
	errs, manifests := daemon.CheckAssets(conf)
	for _, a := range conf.Assets {
		err := errs[a.Name]
		if err == nil {
			err = f.writable(a.To)
		}
		f.report(err, fmt.Sprintf("assets.%s of all releases in %s", a.Name, a.To))
	}
	for _, path := range manifests {
		f.report(fmt.Errorf("%s is the manifest of all releases: after a rollback the old release looks up the static "+
			"files of the new one. Keep it in the release (Django: STATIC_ROOT = BASE_DIR / \"static\"), and remove %s",
			path, path), "")
	}
}

func checkCredentials(conf *config.Config, f *findings) {
	names := strings.Join(conf.Credentials(), ", ")
	if names == "" {
		return
	}
	u := conf.User
	if daemon.Credentials(conf, u) == "" && f.Unit == "" {
		f.warn("credentials %s: cannot be checked until the daemon of the unit runs", names)
		return
	}
	f.report(daemon.CheckCredentials(conf, u), "credentials "+names)
}

// checkSecrets runs secrets.command, and checks whether the newest release would have all required
// variables.
func checkSecrets(conf *config.Config, f *findings) {
	s := &conf.Secrets
	if len(s.Command) == 0 && len(s.Required) == 0 {
		return
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	names, err := daemon.CheckSecrets(ctx, conf, newestRelease(conf))
	text := "secrets.required " + strings.Join(s.Required, ", ")
	if len(s.Command) > 0 {
		text = fmt.Sprintf("secrets.command %s prints %s", s.Command[0], strings.Join(names, ", "))
	}
	f.report(err, text)
}

// newestRelease returns the newest release, or the zero value: there may be none yet.
func newestRelease(conf *config.Config) (newest releases.Release) {
	if store, err := conf.OpenStore(); err == nil {
		newest, _ = store.Resolve("latest", releases.Refs{})
	}
	return newest
}

// checkDirectories checks whether the daemon can write its state, control socket and log. asked is the
// error of a request on the control socket.
func checkDirectories(conf *config.Config, asked error, f *findings) {
	err := f.writable(conf.State)
	if err == nil && exists(conf.State) {
		err = releases.Room(conf.State, daemon.StateRoom)
	}
	if err == nil {
		err = daemon.CheckState(conf)
	}
	f.report(err, "state in "+conf.State)
	err = f.writable(filepath.Dir(conf.Control))
	if other := (*control.OtherAppError)(nil); errors.As(asked, &other) {
		err = fmt.Errorf("control socket %s: %w", conf.Control, other)
	}
	f.report(err, "control socket "+conf.Control)
	switch {
	case conf.Log == "":
	case exists(conf.Log):
		f.report(releases.Access(conf.Log), "log "+conf.Log)
	default:
		f.report(f.writable(filepath.Dir(conf.Log)), "log "+conf.Log)
	}
}

// writable returns why files cannot be created in a directory or, if it does not exist, why it
// cannot be created. It accepts the missing directories that systemd creates when it starts the
// service (StateDirectory=, LogsDirectory=).
func (f *findings) writable(dir string) error {
	if !exists(dir) && f.Unit != "" && slices.Contains(unitDirectories(), dir) {
		return nil
	}
	for !exists(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	return releases.Access(dir)
}

// unitDirectories returns the directories that systemd creates before it starts a service
// (systemd.exec(5)).
func unitDirectories() []string {
	return slices.Concat(
		filepath.SplitList(os.Getenv("STATE_DIRECTORY")), filepath.SplitList(os.Getenv("LOGS_DIRECTORY")),
	)
}

// checkProcesses checks the commands as they would run in the newest release, which may contain a
// config file of the server.
func checkProcesses(conf *config.Config, f *findings) {
	newest := newestRelease(conf)
	checkDetours(conf, newest, f)
	for _, pr := range conf.Processes {
		done := daemon.CommandOf(conf, newest, pr)
		for _, w := range done.Warnings {
			f.warn("process.%s: %s", pr.Name, w)
		}
		if text, warn := drainHookWarning(pr, done); warn {
			f.warn("%s", text)
		}
		var err error
		for _, problem := range done.Problems {
			err = errors.Join(err, fmt.Errorf("process.%s: %s", pr.Name, problem))
		}
		if root := daemon.MayRunChecks(conf, pr); root != nil {
			err = errors.Join(err, fmt.Errorf("process.%s: %w", pr.Name, root))
		}
		if installed(conf, newest) {
			err = errors.Join(err, daemon.CheckPrograms(conf, newest, pr))
		}
		f.report(err, fmt.Sprintf("process.%s %s", pr.Name, runsAs(pr, done.Server)))
		for _, name := range pr.Listen {
			if !usesHold(pr) {
				break
			}
			if text, short := holdQueueNote(conf, pr, name); short {
				f.warn("%s", text)
			} else {
				f.ok("%s", text)
			}
		}
	}
}

// checkAddresses checks whether the listeners can be bound. It skips a listener that the app's
// daemon already owns: other holders, such as systemd's descriptor store, got it from the daemon. asked
// is the error of the request for the status, which is empty if no daemon runs, or this user may not
// ask it.
func checkAddresses(conf *config.Config, st *api.Status, asked error, f *findings) {
	worker := daemon.EarlierDaemons(conf.App)
	ours := func(pid int) bool { return pid == st.PID || worker(pid) }
	for _, l := range conf.Listen {
		at := l.Address.String()
		if holds(st, at) {
			f.ok("listen.%s listens on %s", l.Name, at)
			continue
		}
		probed := l.Address.Probe(ours)
		if daemon.InUse(probed) && errors.Is(asked, fs.ErrPermission) {
			f.warn("listen.%s: %s is in use, and this user may not ask the daemon whether it is the one that uses it: "+
				"run the check as root", l.Name, at)
			continue
		}
		f.report(probed, fmt.Sprintf("listen.%s can listen on %s", l.Name, at))
	}
}

// holds reports whether a daemon has a listener open: before the first release is live, it has only
// those that systemd has given it.
func holds(st *api.Status, address string) bool {
	return slices.ContainsFunc(st.Listeners, func(l api.ListenerStatus) bool {
		return l.Address == address && (l.Generation != 0 || l.Gate == "shared" || st.Waiting)
	})
}

// checkReleases checks every release. A broken release is a failure if it is live or the next
// switch or rollback would make it live, else a warning.
func checkReleases(conf *config.Config, f *findings) error {
	views, err := releasecommand.ViewReleases(conf)
	if err != nil {
		return err
	}
	broken, newest := 0, true // of those that latest could be
	for i := range views {
		v := &views[i]
		isNext := newest && v.NotLatest == ""
		newest = newest && !isNext
		if v.Broken == "" {
			continue
		}
		broken++
		text := fmt.Sprintf("release %s is broken: %s", v.Name, v.Broken)
		if isNext || v.State == "live" || v.State == "previous" || v.State == "standby" {
			f.report(errors.New(text), "")
		} else {
			f.warn("%s", text)
		}
	}
	if len(views) == 0 {
		f.warn("no release in %s yet", conf.Releases)
		return nil
	}
	if whole := len(views) - broken; whole > 0 {
		f.ok("%s complete; superctl check RELEASE boots one", plain.Count(whole, "release looks", "releases look"))
	}
	return nil
}

// runsAs returns text for the server that a process runs as.
func runsAs(pr config.Process, server string) string {
	switch {
	case server != "generic":
		return "runs as " + server
	case len(pr.Listen) == 0:
		return "is a background process"
	}
	return "runs a server without a preset"
}

// checkDetours looks for paths by which a release would run code of another release.
func checkDetours(c *config.Config, r releases.Release, f *findings) {
	found, err := daemon.FindDetours(c, r)
	for _, text := range found {
		f.report(errors.New(text), "")
	}
	if err == nil && len(found) == 0 {
		f.ok("no path of the config or the environment leads into another release")
	}
}

// checkRunning checks whether the live and the previous release of a running daemon still exist,
// and whether the current link points to the live one.
func checkRunning(st *api.Status, store *releases.Store, f *findings) {
	for _, t := range st.Troubles {
		if t.Of == api.ReplacedTrouble {
			f.report(errors.New(t.Why), "")
		}
	}
	for _, one := range []struct{ what, name string }{{"live", st.Release}, {"the rollback target", st.Previous}} {
		path := filepath.Join(store.Dir, one.name)
		if one.name == "" {
			continue
		}
		if err := releases.Gone(path); err != nil { // checkReleases reports those that exist
			f.report(fmt.Errorf("%w (it is %s)", err, one.what), "")
		}
	}
	if to := store.Moved(filepath.Join(store.Dir, st.Release)); st.Release != "" && st.Changing == nil && to != "" {
		f.report(
			fmt.Errorf(
				"the current link points to %s, but %s is live: to restore the link, run superctl switch %s", to,
				st.Release, st.Release,
			),
			"",
		)
	}
}

// checkFirstStart checks whether a daemon that knows no live release finds one by the current link.
func checkFirstStart(conf *config.Config, store *releases.Store, f *findings) {
	last, err := daemon.ReadLast(conf)
	if err != nil || last.Release.Path != "" {
		return
	}
	if _, err := store.CurrentTarget(); err != nil && exists(conf.Current) {
		f.report(err, "")
	}
}

// checkCrons reports when each scheduled command is due next.
func checkCrons(conf *config.Config, f *findings, now time.Time) {
	for i := range conf.Crons {
		c := &conf.Crons[i]
		s, err := c.Due()
		if err != nil {
			f.report(fmt.Errorf("cron.%s: %w", c.Name, err), "")
			continue
		}
		if next, ok := s.Next(now); ok {
			f.ok("cron.%s is due next at %s", c.Name, next.Format("Mon 2006-01-02 15:04:05 MST"))
		} else {
			f.warn("cron.%s is never due: no time from now on matches schedule = %q", c.Name, c.Schedule)
		}
	}
}

// checkHooks checks whether the newest release finds the programs of hooks and scheduled commands.
func checkHooks(conf *config.Config, f *findings) {
	newest := newestRelease(conf)
	if !installed(conf, newest) {
		return
	}
	if err := daemon.CheckHooks(conf, newest); err != nil {
		f.report(err, "")
	}
	for _, text := range daemon.MissingPrograms(conf, newest) {
		f.warn("%s", text)
	}
}

// installed reports whether a release has the programs that it needs. The check of the releases reports
// one that has not.
func installed(conf *config.Config, r releases.Release) bool {
	return r.Path != "" && (!conf.Virtualenv || r.Virtualenv() != "")
}

// notInForce returns a message if the daemon has not applied its config as it is on disk: a check before
// `superctl reload` finds that, so it is no failure. It returns "" for another file, such as a new config
// that is checked before it is put in place.
func notInForce(conf *config.Config, st *api.Status) string {
	if !st.ConfigChanged || !sameFile(conf.Path, st.Config) {
		return ""
	}
	for _, t := range st.Troubles {
		if t.Of == "config" {
			return t.Why
		}
	}
	return conf.Path + " has changed and is not in force: run superctl reload to apply it"
}

func sameFile(one, other string) bool {
	a, errA := os.Stat(one)
	b, errB := os.Stat(other)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }
