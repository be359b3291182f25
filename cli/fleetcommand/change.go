package fleetcommand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/fleet"
	"superctl/plain"
)

// fleetOptions are the flags in a usage line.
const fleetOptions = "[--without HOST] [--keep] [--degraded] [--force] [--dry-run] [--json]"

func fleetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "without", Usage: "leave out this `HOST`; status shows it as behind"},
		&cli.BoolFlag{Name: "keep", Usage: "if a host reverts, leave the new release on the others"},
		&cli.BoolFlag{Name: "degraded", Usage: "begin although a host is degraded or down"},
		&cli.BoolFlag{
			Name: "dry-run", Usage: "show what would be done on each host, and change nothing",
		},
		commandline.ForceFlag(), commandline.JSONFlag(),
	}
}

func (c *command) deployCommand() *cli.Command {
	return &cli.Command{
		Name: "deploy", Usage: "install a bundle on all hosts, and make it live on all or on none",
		UsageText: "superctl @ENV deploy BUNDLE " + fleetOptions,
		Description: `Sends the bundle to the hosts that do not have its release, installs it everywhere, and compares what
was installed. Then all hosts prepare the release; hooks with once = true, such as migrations, run
on the canary host only. When all are ready, the canary host cuts over and passes its probation, and
then all others cut over at once. A URL (https:// or s3://) is fetched by each host.

   superctl @production deploy shop-1.2.tar.zst
   superctl @production deploy shop-1.2.tar.zst --without web2    web2 is down`,
		Flags: fleetFlags(),
		Action: c.action(1, 1, func(ctx context.Context, cc *cli.Context) error {
			b, err := fleet.ReadBundle(cc.Args().First())
			if err != nil {
				return &commandline.UsageError{Err: err}
			}
			return c.change(ctx, cc, fleet.Plan{
				Kind: api.Switch, Bundle: b, Release: b.Release, Why: "deploy of " + cmp.Or(b.Release, b.Path),
			})
		}),
	}
}

func (c *command) switchCommand() *cli.Command {
	return &cli.Command{
		Name: "switch", Usage: "make an installed release live on all hosts or on none",
		UsageText: "superctl @ENV switch RELEASE " + fleetOptions,
		Description: `Makes RELEASE live on all hosts, as a deploy does once it has installed a bundle. All hosts must
resolve RELEASE to the same release with the same files.

   superctl @production switch 2026-11-23-1`,
		Flags: fleetFlags(),
		Action: c.action(1, 1, func(ctx context.Context, cc *cli.Context) error {
			word := cc.Args().First()
			return c.change(ctx, cc, fleet.Plan{Kind: api.Switch, Release: word, Why: "switch to " + word})
		}),
	}
}

func (c *command) rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "go back to the previous release on all hosts or on none",
		UsageText: "superctl @ENV rollback " + fleetOptions,
		Description: `Goes back to the previous release on all hosts. It is refused if the hosts run different releases
or would go to different ones: then use finish, back or switch RELEASE.

   superctl @production rollback`,
		Flags: fleetFlags(),
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			return c.change(ctx, cc, fleet.Plan{Kind: api.Rollback, Why: "rollback"})
		}),
	}
}

func (c *command) reloadCommand() *cli.Command {
	return &cli.Command{
		Name: "reload", Usage: "apply the config of each host to its live release, on all hosts or on none",
		UsageText: "superctl @ENV reload " + fleetOptions,
		Description: `Every host reads its config again and prepares its live release with it. If a host refuses its
config, no host changes. A reload that fails its probation on a host is reverted there; the others
keep the config that they have read, because it is still on their disks.

   superctl @production reload`,
		Flags: fleetFlags(),
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			return c.change(ctx, cc, fleet.Plan{Kind: api.Reload, Why: "reload"})
		}),
	}
}

func (c *command) finishCommand() *cli.Command {
	return &cli.Command{
		Name: "finish", Usage: "when hosts differ: bring those that are behind to the newest release",
		UsageText: "superctl @ENV finish " + fleetOptions,
		Description: `If the operator's machine or the network fails in the middle of a run, hosts may run different
releases; status shows it. finish makes the release of the newest run live on all hosts, as switch
does. back does the opposite.

   superctl @production finish`,
		Flags: fleetFlags(),
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			if _, err := c.without(cc); err != nil {
				return err
			}
			release, err := c.look(ctx).Finish()
			if err != nil {
				return c.noMix(err)
			}
			return c.change(ctx, cc, fleet.Plan{Kind: api.Switch, Release: release, Why: "finish of " + release})
		}),
	}
}

func (c *command) backCommand() *cli.Command {
	return &cli.Command{
		Name: "back", Usage: "when hosts differ: roll back those that the newest run has switched",
		UsageText: "superctl @ENV back [--json]",
		Description: `If the operator's machine or the network fails in the middle of a run, hosts may run different
releases; status shows it. back rolls the hosts that the newest run has switched back to the release that
they had. finish does the opposite.

   superctl @production back`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			after, err := c.look(ctx).Back(ctx, c.fleet.Name, operator(), c.ssh, lookTime)
			if after == nil {
				return c.noMix(err)
			}
			return errors.Join(err, c.showView(cc, after))
		}),
	}
}

// noMix returns the error of finish and back. That there is no mix is no error: it is printed.
func (c *command) noMix(err error) error {
	if errors.Is(err, fleet.ErrNoMix) {
		fmt.Fprintf(c.stderr, "%s: %v\n", c.app(), err)
		return nil
	}
	return err
}

// change carries out the plan of a change, or shows what it would do.
func (c *command) change(ctx context.Context, cc *cli.Context, plan fleet.Plan) error {
	plan.Batch, plan.Bake = c.fleet.Batch, c.fleet.Bake
	plan.Keep, plan.Degraded, plan.Force = cc.Bool("keep"), cc.Bool("degraded"), cc.Bool("force")
	if cc.Bool("dry-run") {
		return c.dryRun(ctx, cc, plan)
	}
	return c.run(ctx, cc, plan, fleet.Do, c.showResult)
}

// showResult prints the outcome of a run. The verdict comes last, where it does not scroll away.
func (c *command) showResult(res *fleet.Result) {
	app := c.app()
	p := terminal.PaletteFor(c.stdout)
	c.showWarnings(p, res)
	for _, h := range res.Hosts {
		if o := h.Outcome; o != nil && o.Result != api.Done && (h.State == fleet.Refused || h.State == fleet.Reverted) {
			terminal.FailureLog(c.stdout, o)
		}
	}
	name := cmp.Or(res.Release, res.Kind)
	c.showHosts(p, res)
	switch {
	case res.Exit == api.ExitDone && !res.Changed:
		fmt.Fprintf(c.stdout, "%s: %s is already live on %s; nothing to do\n", app, name, hostCount(len(res.Hosts)))
	case res.Exit == api.ExitDone:
		skew := ""
		if res.SkewSeconds > 0 {
			skew = ", cutovers within " + terminal.Seconds(res.SkewSeconds)
		}
		fmt.Fprintf(c.stdout, "%s: %s %s on %s%s in %s%s\n", app, p.Bold(name), p.Green("is live"),
			hostCount(len(res.Hosts)), wasText(res), terminal.Seconds(res.Seconds), skew)
	case res.Result == api.Done:
		fmt.Fprintf(c.stdout, "%s: %s %s, but %s\n", app, p.Bold(name), p.Green("is live"), p.Yellow(behindText(res)))
	case res.Result == api.Reverted:
		fmt.Fprintf(c.stdout, "%s: %s %s: %s\n%s\n", app, p.Bold(name), p.Red("was reverted"), res.Error, afterText(res))
	default:
		fmt.Fprintf(c.stdout, "%s: %s %s: %s\n%s\n", app, p.Bold(name), p.Red("was refused"), res.Error, afterText(res))
	}
}

func stateText(p terminal.Palette, s fleet.State) string {
	switch s {
	case fleet.Done:
		return p.Green(string(s))
	case fleet.Refused, fleet.Reverted, fleet.Stuck:
		return p.Red(string(s))
	case fleet.Behind, fleet.Unknown:
		return p.Yellow(string(s))
	default:
		return string(s)
	}
}

// wasText names the release that was live on all hosts before the run.
func wasText(res *fleet.Result) string {
	was := res.Hosts[0].Before
	if was == "" || slices.ContainsFunc(res.Hosts, func(h fleet.HostResult) bool { return h.Before != was }) {
		return ""
	}
	return " (was " + was + ")"
}

func hostCount(n int) string { return plain.Count(n, "host", "hosts") }

// behindText names the hosts that are behind, and the next step.
func behindText(res *fleet.Result) string {
	var names []string
	for _, h := range res.Hosts {
		if h.State == fleet.Behind || h.State == fleet.Unknown {
			names = append(names, h.Host)
		}
	}
	verb := "is"
	if len(names) > 1 {
		verb = "are"
	}
	return fmt.Sprintf("%s %s behind: run the same command again", strings.Join(names, ", "), verb)
}

// afterText returns what is live after a run that failed.
func afterText(res *fleet.Result) string {
	on := make(map[string][]string)
	var unknown, order []string
	for _, h := range res.Hosts {
		if h.Release == "" && (h.State == fleet.Stuck || h.State == fleet.Unknown) {
			unknown = append(unknown, h.Host)
			continue
		}
		if len(on[h.Release]) == 0 {
			order = append(order, h.Release)
		}
		on[h.Release] = append(on[h.Release], h.Host)
	}
	switch {
	case len(unknown) > 0:
		return "what runs on " + strings.Join(unknown, ", ") + " is unknown; status shows it once the host can be reached, and " +
			"back or finish ends a mix"
	case len(order) == 1 && order[0] == "":
		return "no release is live on " + hostCount(len(res.Hosts))
	case len(order) == 1 && res.Result == api.Aborted:
		return fmt.Sprintf("%s is still live on %s, untouched", order[0], hostCount(len(res.Hosts)))
	case len(order) == 1:
		return fmt.Sprintf("%s is live again on %s", order[0], hostCount(len(res.Hosts)))
	}
	var parts []string
	for _, release := range order {
		parts = append(parts, fmt.Sprintf("%s on %s", cmp.Or(release, "none"), strings.Join(on[release], ", ")))
	}
	return "the hosts differ: " + strings.Join(parts, "; ")
}
