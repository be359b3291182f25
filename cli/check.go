package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"superctl/cli/config"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/supervisor/control"
)

func (c *command) daemonCommand() *cli.Command {
	return &cli.Command{
		Name: "daemon", Usage: "run the app: hold its listeners and its workers", UsageText: "superctl daemon",
		Description: `Runs in the foreground, for systemd (superctl@.service) or a container. It starts the release that was live
last, else the one that the current link points to; without either it waits for a switch.

SIGTERM lets the workers finish and ends (a second one hurries), SIGHUP reloads, SIGUSR1 reopens the log file,
SIGUSR2 upgrades. When systemd restarts the service, the workers go on and the next daemon adopts them.`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "read the config and the state as a start would, and start nothing"}},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			path, err := configPath(cc)
			if err != nil {
				return err
			}
			if cc.Bool("dry-run") {
				return c.dryRun(path)
			}
			return runDaemon(path, c.stderr)
		},
	}
}

func (c *command) checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "look for errors in the config, the releases and the sockets, or try a release", UsageText: "superctl check [RELEASE | --notify]",
		Description: `Without RELEASE: reads the config and looks at the releases and the addresses as a daemon would at its
start, without binding anything. With RELEASE: boots it on a private socket, asks for its health, and stops it again;
with [django] its migrations are compared with the database's first. Nothing that runs is touched.

   superctl check
   superctl check 2026-11-23-1
   superctl check --notify           a test message to everybody who is told of changes`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "notify", Usage: "send a test message to each [notify] of the config, and look at nothing else"}},
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
			if cc.Bool("notify") {
				return c.tryNotify(cc.Context, conf)
			}
			if cc.NArg() == 0 {
				return c.checkAll(conf)
			}
			return c.tryRelease(conf, cc.Args().First())
		},
	}
}

// checkAll looks at everything that a start would meet.
func (c *command) checkAll(conf *config.Config) error {
	p := paletteFor(c.stdout)
	bad := 0
	report := func(err error, good string) {
		if err != nil {
			bad++
			fmt.Fprintf(c.stdout, "%s %v\n", p.red("bad "), err)
			return
		}
		fmt.Fprintf(c.stdout, "%s %s\n", p.green("good"), good)
	}
	report(nil, "config "+conf.Path)
	for _, w := range conf.Warnings {
		fmt.Fprintf(c.stdout, "%s %s\n", p.yellow("note"), w)
	}
	c.checkProcesses(conf, p, report)
	if names := strings.Join(conf.Credentials(), ", "); names != "" {
		u, err := workersUser(conf)
		if uid, _ := idsOf(u); err == nil && outside(conf, copiesOf(conf), uid) == "" {
			fmt.Fprintf(c.stdout, "%s credentials %s: whether the unit has them shows when its daemon runs\n", p.yellow("note"), names)
		} else {
			report(errors.Join(err, credentialSource{}.check(conf, u)), "credentials "+names)
		}
	}
	shared := releases.Sharing{Paths: conf.Shared, Owner: ownerOf(conf)}
	for _, name := range slices.Sorted(maps.Keys(conf.Shared)) {
		report(shared.CheckTarget(name), fmt.Sprintf("shared.%s leads to %s", name, conf.Shared[name]))
	}
	c.checkNotify(conf, report)
	c.checkAddresses(conf, report)
	store, err := releases.Open(conf.Releases, conf.Current)
	report(err, "releases in "+conf.Releases)
	if err == nil {
		report(store.Pointable(), "current link "+conf.Current)
		if err := c.checkReleases(conf, p); err != nil {
			report(err, "")
		}
	}
	if bad > 0 {
		return fmt.Errorf("check: %d problems", bad)
	}
	return nil
}

// checkProcesses looks at the commands, as they would run in the newest release: it may have a config of the server's own.
func (c *command) checkProcesses(conf *config.Config, p palette, report func(err error, good string)) {
	var newest releases.Release
	if store, err := releases.Open(conf.Releases, conf.Current); err == nil {
		newest, _ = store.Resolve("latest", releases.Refs{}) // there may be none yet
	}
	for _, pr := range conf.Processes {
		done := completed(conf, newest, pr, environment(conf, newest, cmp.Or(pr.User, conf.User), "", pr.Env))
		for _, w := range done.Warnings {
			fmt.Fprintf(c.stdout, "%s process.%s: %s\n", p.yellow("note"), pr.Name, w)
		}
		if text, stake := hookNote(pr, done); stake {
			fmt.Fprintf(c.stdout, "%s %s\n", p.yellow("note"), text)
		}
		var err error
		for _, problem := range done.Problems {
			err = errors.Join(err, fmt.Errorf("process.%s: %s", pr.Name, problem))
		}
		report(err, fmt.Sprintf("process.%s runs as %s", pr.Name, done.Server))
		for _, name := range pr.Listen {
			if !holds(pr) {
				break
			}
			if text, short := holdNote(conf, pr, name); short {
				fmt.Fprintf(c.stdout, "%s %s\n", p.yellow("note"), text)
			} else {
				report(nil, text)
			}
		}
	}
}

// checkAddresses looks whether the listeners can be bound. One that the app's daemon has is not looked at: who else holds it, such as
// systemd's store, has it from there.
func (c *command) checkAddresses(conf *config.Config, report func(err error, good string)) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	if err != nil {
		st = supervisor.Status{} // none runs, or it is not for us to ask
	}
	worker := earlierDaemons(conf.App)
	ours := func(pid int) bool { return pid == st.PID || worker(pid) }
	for _, l := range conf.Listen {
		at := l.Address.String()
		if slices.ContainsFunc(st.Listeners, func(ls supervisor.ListenerStatus) bool { return ls.Address == at }) {
			report(nil, fmt.Sprintf("listen.%s has %s", l.Name, at))
			continue
		}
		report(l.Address.Probe(ours), fmt.Sprintf("listen.%s can use %s", l.Name, at))
	}
}

func (c *command) checkReleases(conf *config.Config, p palette) error {
	views, err := viewReleases(conf)
	if err != nil {
		return err
	}
	broken := slices.DeleteFunc(slices.Clone(views), func(v releaseView) bool { return v.Broken == "" })
	for _, v := range broken {
		fmt.Fprintf(c.stdout, "%s %s\n", p.yellow("note"), v.Broken)
	}
	fmt.Fprintf(c.stdout, "%s %d releases, %d of them broken\n", p.green("good"), len(views), len(broken))
	return nil
}

// tryRelease boots a release behind private gates, in a supervisor of its own with a state directory of its own.
func (c *command) tryRelease(conf *config.Config, word string) (err error) {
	dir, err := os.MkdirTemp("", "superctl-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	gates, err := makeGates(conf, nil, nil)
	if err != nil {
		return err
	}
	for i, g := range gates {
		if gates[i], err = g.Private(); err != nil {
			return err
		}
	}
	plans := &planner{path: conf.Path}
	s := supervisor.New(supervisor.Options{
		App: conf.App + "-check", Version: version(), State: filepath.Join(dir, "state"), Notify: filepath.Join(dir, "notify"), Hook: filepath.Join(dir, "drain"), Gates: gates, Log: zap.NewNop(),
		Resolve: func(ctx context.Context, t supervisor.Target) (supervisor.Plan, error) {
			if t.Kind != supervisor.Switch {
				return supervisor.Plan{}, &supervisor.NoReleaseError{Reason: "this is a check"}
			}
			plan, err := plans.resolve(ctx, t)
			plan.Probation, plan.Standby = 0, 0
			plan.Hooks.Before, plan.Hooks.After, plan.Hooks.OnAbort, plan.Hooks.OnRevert = nil, nil, nil, nil
			plan.Processes = slices.DeleteFunc(plan.Processes, func(p supervisor.Process) bool { return len(p.Listen) == 0 })
			for i := range plan.Processes {
				if plan.Processes[i].Strategy == supervisor.Rolling {
					plan.Processes[i].Instances = 1 // there may be no room for all beside the live ones
				}
			}
			return plan, err
		},
		Look: newLooker(conf).look,
		Share: func(plan supervisor.Plan, _ bool) (string, error) {
			return shareInto(plan, ownerOf(conf), c.runsFrom(conf, plan.Release.Name))
		},
		Inspect: func(ctx context.Context, i supervisor.Inspection, line func(string)) (string, error) {
			i.Before, i.Live = true, c.livePlan(ctx, conf, plans)
			return inspectMigrations(ctx, i, line)
		},
	})
	ctx, interrupted := interruptible()
	defer interrupted()
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	<-s.Started()
	show := newProgress(c.stderr, c.now)
	out, err := s.Change(ctx, supervisor.Request{Kind: supervisor.Switch, Release: word, Who: "check"}, show.event)
	show.end()
	if err != nil {
		return err
	}
	if out.Result == supervisor.Done {
		fmt.Fprintf(c.stdout, "%s: %s works: it was started on a private socket and is healthy\n", conf.App, out.Release)
		return nil
	}
	out.Previous = ""
	fmt.Fprintf(c.stdout, "%s: %s does not work: %s\n", conf.App, out.Release, out.Error)
	for _, l := range out.Log {
		fmt.Fprintf(c.stdout, "  | %s\n", l)
	}
	return &outcomeError{out.Result}
}

// runsFrom tells whether a daemon has workers of a release.
func (c *command) runsFrom(conf *config.Config, release string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	return err == nil && slices.ContainsFunc(st.Generations, func(g supervisor.GenerationStatus) bool { return g.Release == release })
}

// livePlan is the plan of the release that is live, when a daemon runs and one is.
func (c *command) livePlan(ctx context.Context, conf *config.Config, plans *planner) *supervisor.Plan {
	asked, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(asked)
	if err != nil || st.Release == "" {
		return nil
	}
	plan, err := plans.resolve(ctx, supervisor.Target{Kind: supervisor.Switch, Word: st.Release})
	if err != nil {
		return nil
	}
	return &plan
}
