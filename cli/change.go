//go:build linux

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/lookcommand"
	"superctl/cli/terminal"
	"superctl/daemon/control"
	"superctl/plain"
)

func switchCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "switch", Usage: "make a release live",
		UsageText: "superctl switch RELEASE [--canary SHARE] [--canary-from NETWORKS] [--for DURATION] [--check COMMAND] " +
			"[--expect RELEASE] [--prepare[=LIMIT]] [--run ID [--by NAME] [--follower]] [--force] [--detach] " +
			"[--wait-lock DURATION] [--dry-run] [--json]",
		Description: `Starts the workers of RELEASE next to the live ones, checks them on the listeners that they will
serve, sends all new connections to them in one instant, watches them for the probation time, and
lets the old workers finish. A release that fails its health check is refused. A release that fails
its probation is reverted.

RELEASE is a name, a unique prefix of a name, a commit, "latest" or "previous".

With --canary or --canary-from, RELEASE first gets only a part of the new connections. A worker that
dies, a failed health check, a failed --check or Ctrl-C ends the canary: the live release gets all
connections again.

Ctrl-C and superctl cancel abort the switch if it has not had its cutover. If an ssh connection breaks,
the switch and its hooks continue in the daemon: superctl attach follows them. With --detach the
command itself ends as soon as the switch has begun.

With --prepare, the switch does everything before the cutover and then waits: it prints "ready",
cuts over at the line "go" on standard input, and aborts at anything else. So several hosts can cut
over together, or not at all.

   superctl switch 2026-11-23-1      by name
   superctl switch 9f3c2ab           by commit
   superctl switch latest --json     for scripts: "changed" reports whether there was anything to do
   superctl switch latest --canary 1%,10%,50% --for 5m --check "python manage.py error_rate"
   superctl switch latest --canary-from 203.0.113.0/24 --for 1h    only from one network, for an hour`,
		Flags:  changeFlags(append(canaryFlags(), expectFlag(), commandline.ForceFlag(), detachFlag(), waitLockFlag(), dryRunFlag())...),
		Action: c.switchRelease,
	}
}

func (c *command) switchRelease(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 1, 1); err != nil {
		return err
	}
	canary, err := canaryFromFlags(cc)
	if err != nil {
		return err
	}
	req, err := changeRequest(cc, api.Switch)
	if err != nil {
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
	req.Release, req.Canary = word, canary
	return c.change(cc, req)
}

func rollbackCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "go back to the previous release",
		UsageText: "superctl rollback [--from RELEASE] [--prepare[=LIMIT]] [--run ID [--by NAME] [--follower]] [--force] [--detach] " +
			"[--wait-lock DURATION] [--dry-run] [--json]",
		Description: `Switches to the release that was live before. With standby = "5m" in the config, its workers are
kept running for 5 minutes, and a rollback within this time takes milliseconds. During a canary or a
probation, rollback ends it and returns all connections to the release before.

With --from it can be repeated: once another release is live, there is nothing to do. The run that
made RELEASE live goes back without the check of the migrations ([django]), with a warning.

   superctl rollback
   superctl rollback --from 2026-11-23-1`,
		Flags: changeFlags(fromFlag(), commandline.ForceFlag(), detachFlag(), waitLockFlag(), dryRunFlag()),
		Action: func(cc *cli.Context) error {
			if cc.NArg() == 1 {
				return commandline.Usagef(
					"rollback: unexpected argument %q: to make this release live, run superctl switch %s",
					cc.Args().First(), cc.Args().First(),
				)
			}
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			req, err := changeRequest(cc, api.Rollback)
			if err != nil {
				return err
			}
			return c.change(cc, req)
		},
	}
}

func reloadCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "reload", Usage: "apply the config to the live release",
		UsageText: "superctl reload [--expect RELEASE] [--prepare[=LIMIT]] [--run ID [--by NAME] [--follower]] [--detach] " +
			"[--wait-lock DURATION] [--dry-run] [--json]",
		Description: `Reads the config again and starts new workers of the live release with it, with the same checks and
cutover as a switch. A config with an error is refused, and so is a config with which the release
does not work.

   systemctl reload superctl@shop    does the same, and fails if the reload is refused`,
		Flags: changeFlags(expectFlag(), detachFlag(), waitLockFlag(), dryRunFlag()),
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			req, err := changeRequest(cc, api.Reload)
			if err != nil {
				return err
			}
			return c.change(cc, req)
		},
	}
}

// change asks the daemon for a change. It shows the progress and the outcome, or with --json only
// the outcome.
func (c *command) change(cc *cli.Context, req api.Request) error {
	conf, daemonClient, err := app.Open(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	con, atEnd := c.WithWriteTimeouts()
	c = &command{con}
	defer atEnd()
	show := c.Progress(cc)
	listened := show.Listen(ctx, daemonClient, console.NewerThanAll)
	ask := c.prompt(ctx, cc, req)
	out, err := ask.change(daemonClient, req, show.Event)
	listened()
	show.End(console.VerdictOf(out)...)
	switch {
	case ctx.Err() != nil && (out == nil || out.Result != api.Done):
		stop() // another Ctrl-C ends this process at once
		return c.interrupted(daemonClient, conf.App, ask.begun)
	case errors.Is(err, control.ErrLeave):
		return c.detach(cc, daemonClient, conf.App)
	case err != nil:
		return err
	}
	return c.Conclude(cc, out, out.Result, console.DoneOf(out, req.DryRun), func() { c.print().outcome(conf.App, out) })
}

// abortTime is how long an interrupted command waits until the daemon has aborted its change and
// stopped the new workers.
const abortTime = 30 * time.Second

// interrupted reports what became of a change whose client was interrupted. Before the cutover the
// daemon aborts it; after the cutover it continues. One that has not begun, because it waits for
// another, does not begin.
func (c *command) interrupted(daemonClient *control.Client, app string, begun bool) error {
	if !begun {
		return errors.New("interrupted: the change had not begun, and does not begin; superctl status shows what runs")
	}
	st, err := c.settled(daemonClient)
	switch {
	case err != nil:
		return fmt.Errorf("interrupted; the outcome of the change is unknown: %w", err)
	case st.Changing == nil && st.Last != nil && st.Last.Result != api.Done:
		return fmt.Errorf("interrupted: the %s of %s is %s; %s", st.Last.Kind, app, st.Last.Result, liveText(&st))
	case st.Changing == nil:
		return fmt.Errorf("interrupted, but the change was already done; %s", liveText(&st))
	case st.Changing.Committed:
		return fmt.Errorf(
			"interrupted after the cutover: the %s of %s continues in the daemon, now in step %s; %s "+
				"(superctl attach follows it)", st.Changing.Kind, app, st.Changing.Step, liveText(&st),
		)
	}
	return fmt.Errorf(
		"interrupted: the %s of %s is being aborted, in step %s; %s", st.Changing.Kind, app, st.Changing.Step,
		liveText(&st),
	)
}

// settled returns the status once the change of a client that has hung up is aborted or has had its
// cutover, or after abortTime.
func (c *command) settled(daemonClient *control.Client) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), abortTime)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		st, err := daemonClient.Status(ctx)
		if err != nil || st.Changing == nil || st.Changing.Committed {
			return st, err
		}
		select {
		case <-again.C: // the daemon aborts once it notices that the client is gone
		case <-ctx.Done():
			return st, nil
		}
	}
}

// liveText returns text for the live release.
func liveText(st *api.Status) string {
	if st.Release == "" {
		return "no release is live"
	}
	return st.Release + " is live"
}

// outcome prints the outcome of a change. The verdict comes last, where it does not scroll
// away.
func (pr printer) outcome(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	for _, w := range out.Warnings {
		terminal.Prose(pr.Stdout, "%s %s", p.Yellow("warning:"), w)
	}
	terminal.FailureLog(pr.Stdout, out)
	pr.variables(out.Variables)
	lookcommand.WriteTraffic(pr.Stdout, out, "")
	switch {
	case out.DryRun && (out.Changed || out.Result != api.Done):
		pr.dryRun(app, out)
	case out.Kind == string(api.Maintenance):
		pr.maintenance(app, out)
	case inPlace(out.Kind):
		pr.inPlace(app, out)
	case out.Kind == string(api.Upgrade) && (out.Changed || out.Result != api.Done):
		pr.upgrade(app, out)
	default:
		pr.switched(app, out)
	}
}

// switched prints the outcome of a change that was to make a release live.
func (pr printer) switched(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	name := terminal.WithCommit(out.Release, out.Commit)
	switch {
	case out.Result == api.Done && !out.Changed:
		pr.unchanged(app, out)
	case out.Result == api.Done:
		was := ""
		if out.Previous != "" && out.Previous != out.Release {
			was = " (was " + out.Previous + ")"
		}
		terminal.Prose(
			pr.Stdout, "%s: %s %s%s in %s%s", app, p.Bold(name), p.Green("is live"), was, terminal.Seconds(out.Seconds),
			cutoverText(out),
		)
	case out.Result == api.Reverted:
		terminal.Prose(pr.Stdout, "%s: %s %s: %s", app, p.Bold(name), p.Red("was reverted"), out.Error)
		pr.cause(out)
		terminal.Prose(pr.Stdout, "%s", previousText(out, "is live again"))
	default:
		terminal.Prose(pr.Stdout, "%s: %s %s: %s", app, p.Bold(cmp.Or(plain.Name(name), out.Kind)), p.Red("was refused"), out.Error)
		pr.cause(out)
		terminal.Prose(pr.Stdout, "%s", previousText(out, liveState(out)))
	}
}

// variables prints the names of the variables that differ between the live release and the new one.
func (pr printer) variables(v *api.VariableChanges) {
	if v == nil {
		return
	}
	var parts []string
	for _, one := range []struct {
		what  string
		names []string
	}{{"added", v.Added}, {"removed", v.Removed}, {"changed", v.Changed}} {
		if len(one.names) > 0 {
			parts = append(parts, one.what+" "+strings.Join(one.names, ", "))
		}
	}
	terminal.Prose(pr.Stdout, "variables: %s", strings.Join(parts, "; "))
}

// cause prints the exception that the last lines of a failed worker name, and how to look further.
func (pr printer) cause(out *api.Outcome) {
	if out.Culprit != api.Worker {
		return
	}
	if text := terminal.Exception(out.Log); text != "" {
		terminal.Prose(pr.Stdout, "  %s", text)
	}
	switch {
	case out.Result == api.Reverted:
		terminal.Prose(pr.Stdout, "superctl logs --release %s shows what its workers wrote", out.Release)
	case out.Kind == string(api.Switch):
		terminal.Prose(pr.Stdout, "superctl check %s tries it again without traffic", out.Release)
	}
}

// unchanged prints that there was nothing to do.
func (pr printer) unchanged(app string, out *api.Outcome) {
	if out.Release == "" {
		terminal.Prose(pr.Stdout, "%s: no release is live; nothing to do", app)
		return
	}
	terminal.Prose(pr.Stdout, "%s: %s is already live; nothing to do", app, terminal.WithCommit(out.Release, out.Commit))
}

// packages prints the packages that differ between the live release and the new one.
func (pr printer) packages(changes *api.PackageChanges) {
	if changes == nil {
		return
	}
	var parts []string
	for _, one := range changes.Added {
		parts = append(parts, "added "+one.Name+" "+one.To)
	}
	for _, one := range changes.Removed {
		parts = append(parts, "removed "+one.Name+" "+one.From)
	}
	for _, one := range changes.Changed {
		parts = append(parts, one.Name+" "+one.From+" to "+one.To)
	}
	terminal.Prose(pr.Stdout, "packages: %s", strings.Join(parts, "; "))
}

// dryRun prints what a change would do.
func (pr printer) dryRun(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	pr.packages(out.Packages)
	for _, command := range out.Before {
		terminal.Prose(pr.Stdout, "before: %s", command)
	}
	name := p.Bold(cmp.Or(terminal.WithCommit(out.Release, out.Commit), out.Kind))
	switch {
	case out.Result != api.Done:
		terminal.Prose(pr.Stdout, "%s: %s %s: %s", app, name, p.Red("would be refused"), out.Error)
	case out.Release == out.Previous:
		terminal.Prose(pr.Stdout, "%s: %s would be started again with the config as it is now", app, name)
	default:
		terminal.Prose(pr.Stdout, "%s: %s would be made live", app, name)
	}
	terminal.Prose(pr.Stdout, "nothing was changed; %s", previousText(out, "is live"))
}

func (pr printer) upgrade(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	if out.Result != api.Done {
		terminal.Prose(
			pr.Stdout, "%s: the upgrade %s: %s\nsuperctl %s keeps running", app, p.Red("was refused"), out.Error,
			out.Previous,
		)
		return
	}
	terminal.Prose(
		pr.Stdout, "%s: %s to superctl %s in %s; the workers were not touched", app, p.Green("upgraded"),
		p.Bold(out.Release), terminal.Seconds(out.Seconds),
	)
}

// liveState returns text for the state of the live release after a refused change.
func liveState(out *api.Outcome) string {
	if slices.ContainsFunc(out.Steps, func(s api.Step) bool { return s.Name == api.StepComeBack }) {
		return "is still live, with all its workers running again"
	}
	return "is still live, untouched"
}

// previousText returns text for the release that was live before the change.
func previousText(out *api.Outcome, how string) string {
	if out.Previous == "" {
		return "no release is live"
	}
	return out.Previous + " " + how
}

func cutoverText(out *api.Outcome) string {
	if out.CutoverSeconds == 0 {
		return ""
	}
	return fmt.Sprintf(", cutover %.2f ms", out.CutoverSeconds*1000)
}
