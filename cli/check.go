package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/releases"
)

func (c *command) daemonCommand() *cli.Command {
	return &cli.Command{
		Name: "daemon", Usage: "run the app: hold its listeners and its workers", UsageText: "superctl daemon",
		Description: `Runs in the foreground, for systemd (superctl@.service) or a container. It starts the release that was live
last, else the one that the current link points to; without either it waits for a switch.

SIGTERM lets the workers finish and ends (a second one hurries), SIGHUP reloads, SIGUSR1 reopens the log file,
SIGUSR2 upgrades. When systemd restarts the service, the workers go on and the next daemon adopts them.`,
		Flags: []cli.Flag{&cli.BoolFlag{
			Name: "dry-run", Usage: "read the config and the state as a start would, and start nothing",
		}},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			path, err := configPath(cc)
			if err != nil {
				return err
			}
			if cc.Bool("dry-run") {
				if err := daemon.DryRun(path); err != nil {
					return err
				}
				fmt.Fprintln(c.stdout, daemon.Version())
				return nil
			}
			return daemon.Run(path, raw(c.stderr))
		},
	}
}

func (c *command) checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "look for errors in the config, the releases and the sockets, or try a release",
		UsageText: "superctl check [RELEASE | --notify] [--json]",
		Description: `Without RELEASE: reads the config and looks at the releases and the addresses as a daemon would at its
start. With RELEASE: boots it on a private socket, asks for its health, and stops it again; with [django] its
migrations are compared with the database's first. Nothing that runs is touched, and superctl writes nothing.

Root looks with the service's eyes: as its user, in the sandbox of its unit.

   superctl check
   superctl check 2026-11-23-1
   superctl check --notify           a test message to everybody who is told of changes`,
		Flags: []cli.Flag{
			&cli.BoolFlag{
				Name: "notify", Usage: "send a test message to each [notify] of the config, and look at nothing else",
			},
			jsonFlag(), &cli.StringFlag{Name: insideFlag, Hidden: true},
		},
		Action: func(cc *cli.Context) error {
			most := 1
			if cc.Bool("notify") {
				most = 0
			}
			if err := arguments(cc, 0, most); err != nil {
				return err
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			word, err := releaseWord(conf, cc.Args().First())
			if err != nil {
				return err
			}
			if done, err := c.asService(cc, conf, word); done {
				return err
			}
			if cc.NArg() == 1 {
				u, err := workersUser(conf)
				if err != nil {
					return err
				}
				return c.tryRelease(cc, conf, u, word)
			}
			f := c.lookingAs(cc.Context, cc, conf)
			if cc.Bool("notify") {
				err = tryNotify(cc.Context, conf, f)
			} else {
				checkAll(conf, f)
			}
			return errors.Join(err, c.concludeCheck(f, cc.Bool("json")))
		},
	}
}

// checkAll looks at everything that a start would meet.
func checkAll(conf *config.Config, f *findings) {
	f.ok("config %s", conf.Path)
	for _, w := range conf.Warnings {
		f.warn("%s", w)
	}
	checkProcesses(conf, f)
	checkCredentials(conf, f)
	shared := releases.Sharing{Paths: conf.Shared, Owner: daemon.OwnerOf(conf)}
	for _, name := range slices.Sorted(maps.Keys(conf.Shared)) {
		f.report(shared.CheckTarget(name), fmt.Sprintf("shared.%s leads to %s", name, conf.Shared[name]))
	}
	checkNotify(conf, f)
	checkAddresses(conf, f)
	checkDirectories(conf, f)
	store, err := conf.OpenStore()
	f.report(err, "releases in "+conf.Releases)
	if err != nil {
		return
	}
	if conf.Current != "" {
		f.report(store.Linkable(), "current link "+conf.Current)
	}
	checkRunning(conf, store, f)
	if err := checkReleases(conf, f); err != nil {
		f.report(err, "")
	}
}

func checkCredentials(conf *config.Config, f *findings) {
	names := strings.Join(conf.Credentials(), ", ")
	if names == "" {
		return
	}
	u := conf.User
	if daemon.Credentials(conf, u) == "" && f.Unit == "" {
		f.warn("credentials %s: whether the unit has them shows when its daemon runs", names)
		return
	}
	f.report(daemon.CheckCredentials(conf, u), "credentials "+names)
}

// checkDirectories looks whether the daemon can write where it has to.
func checkDirectories(conf *config.Config, f *findings) {
	err := f.writable(conf.State)
	if err == nil && exists(conf.State) {
		err = releases.Room(conf.State, daemon.StateRoom)
	}
	f.report(err, "state in "+conf.State)
	f.report(f.writable(filepath.Dir(conf.Control)), "control socket "+conf.Control)
	switch {
	case conf.Log == "":
	case exists(conf.Log):
		f.report(releases.Access(conf.Log), "log "+conf.Log)
	default:
		f.report(f.writable(filepath.Dir(conf.Log)), "log "+conf.Log)
	}
}

// writable returns why files cannot be made in a directory, or, if it does not exist, why it cannot
// be made. What the unit names in StateDirectory= and LogsDirectory= systemd makes when it starts
// the service.
func (f *findings) writable(dir string) error {
	if !exists(dir) && f.Unit != "" && slices.Contains(unitDirectories(), dir) {
		return nil
	}
	for !exists(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	return releases.Access(dir)
}

// unitDirectories are those that systemd makes for a service before it starts it (systemd.exec(5)).
func unitDirectories() []string {
	return slices.Concat(
		filepath.SplitList(os.Getenv("STATE_DIRECTORY")), filepath.SplitList(os.Getenv("LOGS_DIRECTORY")),
	)
}

// checkProcesses looks at the commands, as they would run in the newest release: it may have a
// config of the server's own.
func checkProcesses(conf *config.Config, f *findings) {
	var newest releases.Release
	if store, err := conf.OpenStore(); err == nil {
		newest, _ = store.Resolve("latest", releases.Refs{}) // there may be none yet
	}
	checkDetours(conf, newest, f)
	for _, pr := range conf.Processes {
		done := daemon.CommandOf(conf, newest, pr)
		for _, w := range done.Warnings {
			f.warn("process.%s: %s", pr.Name, w)
		}
		if text, stake := hookNote(pr, done); stake {
			f.warn("%s", text)
		}
		var err error
		for _, problem := range done.Problems {
			err = errors.Join(err, fmt.Errorf("process.%s: %s", pr.Name, problem))
		}
		f.report(err, fmt.Sprintf("process.%s runs as %s", pr.Name, done.Server))
		for _, name := range pr.Listen {
			if !holds(pr) {
				break
			}
			if text, short := holdNote(conf, pr, name); short {
				f.warn("%s", text)
			} else {
				f.ok("%s", text)
			}
		}
	}
}

// checkAddresses looks whether the listeners can be bound. One that the app's daemon has is not
// looked at: who else holds it, such as systemd's store, has it from there.
func checkAddresses(conf *config.Config, f *findings) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	if err != nil {
		st = api.Status{} // none runs, or it is not for us to ask
	}
	worker := daemon.EarlierDaemons(conf.App)
	ours := func(pid int) bool { return pid == st.PID || worker(pid) }
	for _, l := range conf.Listen {
		at := l.Address.String()
		if slices.ContainsFunc(st.Listeners, func(ls api.ListenerStatus) bool { return ls.Address == at }) {
			f.ok("listen.%s has %s", l.Name, at)
			continue
		}
		f.report(l.Address.Probe(ours), fmt.Sprintf("listen.%s can use %s", l.Name, at))
	}
}

// checkReleases looks at every release. One that cannot be switched to is a failure if it is live,
// or would be live next.
func checkReleases(conf *config.Config, f *findings) error {
	views, err := viewReleases(conf)
	if err != nil {
		return err
	}
	broken := 0
	for i := range views {
		v := &views[i]
		if v.Broken == "" {
			continue
		}
		broken++
		text := fmt.Sprintf("release %s is broken: %s", v.Name, v.Broken)
		if i == 0 && !v.incomplete || v.State == "live" || v.State == "previous" || v.State == "standby" {
			f.report(errors.New(text), "")
		} else {
			f.warn("%s", text)
		}
	}
	if len(views) == 0 {
		f.warn("there is no release in %s yet", conf.Releases)
		return nil
	}
	f.ok("%s, %d of them broken", count(len(views), "release", "releases"), broken)
	return nil
}

// checkDetours looks for paths by which a release would run the code of another one.
func checkDetours(c *config.Config, r releases.Release, f *findings) {
	found, err := daemon.FindDetours(c, r)
	for _, text := range found {
		f.report(errors.New(text), "")
	}
	if err == nil && len(found) == 0 {
		f.ok("no path leads to another release")
	}
}

// checkRunning looks whether what a running daemon has live, and would go back to, is still there,
// and whether the link leads there.
func checkRunning(conf *config.Config, store *releases.Store, f *findings) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	if err != nil {
		return // none runs, or it is not for us to ask
	}
	for _, one := range []struct{ what, name string }{{"live", st.Release}, {"the one to go back to", st.Previous}} {
		path := filepath.Join(store.Dir, one.name)
		if one.name == "" {
			continue
		}
		if err := releases.Gone(path); err != nil { // what is there is among the others
			f.report(fmt.Errorf("%w (it is %s)", err, one.what), "")
		}
	}
	if to := store.Moved(filepath.Join(store.Dir, st.Release)); st.Release != "" && st.Changing == nil && to != "" {
		f.report(
			fmt.Errorf(
				"the current link was moved to %s, and %s is live: superctl switch %s puts it back", to, st.Release,
				st.Release,
			),
			"",
		)
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }
