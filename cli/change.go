package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/daemon/control"
)

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print the outcome as JSON, and nothing else"}
}

func (c *command) switchCommand() *cli.Command {
	return &cli.Command{
		Name: "switch", Usage: "make a release live",
		UsageText: "superctl switch RELEASE [--canary SHARE] [--canary-from NETWORKS] [--for LONG] [--check COMMAND] [--force] [--detach] [--json]",
		Description: `Starts RELEASE beside the live one, checks it on the listener that it will serve from, turns all new
connections over in one instant, watches it for the probation, and lets the old workers finish.
A release that fails its check is refused; one that fails its probation is reverted.

RELEASE is a name, the beginning of one, a commit, "latest" or "previous".

With --canary or --canary-from it first gets a part of the new connections. A death, a failed health check, a
failed --check or Ctrl-C sends everybody back to the live release, at once.

Ctrl-C before the cutover, or a connection that breaks, aborts it; with --detach it goes on in the daemon.

   superctl switch 2026-11-23-1      by name
   superctl switch 9f3c2ab           by commit
   superctl switch latest --json     for scripts: "changed" says whether anything was to be done
   superctl switch latest --canary 1%,10%,50% --for 5m --check "python manage.py error_rate"
   superctl switch latest --canary-from 203.0.113.0/24 --for 1h    for the office alone, for an hour`,
		Flags: append(canaryFlags(), forceFlag(), detachFlag(), jsonFlag()),
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 1, 1); err != nil {
				return err
			}
			canary, err := canaryOf(cc)
			if err != nil {
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
			return c.change(cc, api.Request{
				Kind: api.Switch, Release: word, Canary: canary, Force: cc.Bool("force"), Detach: cc.Bool("detach"),
			})
		},
	}
}

func (c *command) rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "go back to the release that was live before",
		UsageText: "superctl rollback [--force] [--detach] [--json]",
		Description: `A switch to the release that was live before. With standby = "5m" in the config its workers are still
warm for so long, and the rollback takes some milliseconds. During a probation or a canary it ends just that.

   superctl rollback`,
		Flags: []cli.Flag{forceFlag(), detachFlag(), jsonFlag()},
		Action: func(cc *cli.Context) error {
			if cc.NArg() == 1 {
				return &usageError{fmt.Errorf(
					"rollback: unexpected argument %q: superctl switch %s makes that release live", cc.Args().First(),
					cc.Args().First(),
				)}
			}
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.change(cc, api.Request{Kind: api.Rollback, Force: cc.Bool("force"), Detach: cc.Bool("detach")})
		},
	}
}

func (c *command) reloadCommand() *cli.Command {
	return &cli.Command{
		Name: "reload", Usage: "read the config anew, with the same release",
		UsageText: "superctl reload [--detach] [--json]",
		Description: `Starts the live release anew with the config as it is now, checks it, and turns over as a switch does.
A config with an error is refused, and so is one with which the release does not work.

   systemctl reload superctl@shop    does the same, and fails when the reload is refused`,
		Flags: []cli.Flag{detachFlag(), jsonFlag()},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.change(cc, api.Request{Kind: api.Reload, Detach: cc.Bool("detach")})
		},
	}
}

// change has the daemon make a change and shows it: as it happens for people, the outcome alone for
// scripts.
func (c *command) change(cc *cli.Context, req api.Request) error {
	conf, err := load(cc)
	if err != nil {
		return err
	}
	daemonClient, err := client(cc)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	c, atEnd := c.patient()
	defer atEnd()
	show := c.progress(cc)
	out, err := daemonClient.Change(ctx, req, show.event)
	show.end()
	if err != nil && ctx.Err() != nil {
		stop() // another Ctrl-C ends this at once
		if req.Detach {
			return c.detached(daemonClient)
		}
		return c.interrupted(daemonClient, conf.App)
	}
	if err != nil {
		return err
	}
	return c.conclude(cc, out, out.Result, func() { c.tell(conf.App, out) })
}

// abortTime is how long a change that is given up may take until the daemon says so: until its
// workers are gone.
const abortTime = 30 * time.Second

// interrupted says what has become of a change whose client was interrupted: before the cutover it
// is aborted, after it it goes on.
func (c *command) interrupted(daemonClient *control.Client, app string) error {
	ctx, cancel := context.WithTimeout(context.Background(), abortTime)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		st, err := daemonClient.Status(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("interrupted, and what has become of the change is not known: %w", err)
		case st.Changing == nil && st.Last != nil && st.Last.Result != api.Done:
			return fmt.Errorf("interrupted: the %s of %s is %s; %s", st.Last.Kind, app, st.Last.Result, liveText(&st))
		case st.Changing == nil:
			return fmt.Errorf("interrupted, but the change was done already; %s", liveText(&st))
		case st.Changing.Committed:
			return fmt.Errorf("interrupted after the cutover: the %s of %s goes on in the daemon, now in step %s; %s (superctl status --watch follows it)",
				st.Changing.Kind, app, st.Changing.Step, liveText(&st))
		}
		select {
		case <-again.C: // the daemon notices within a moment that nobody listens
		case <-ctx.Done():
			return fmt.Errorf(
				"interrupted: the %s of %s is being aborted, in step %s; %s", st.Changing.Kind, app, st.Changing.Step,
				liveText(&st),
			)
		}
	}
}

// detached says that a change whose client was interrupted goes on.
func (c *command) detached(daemonClient *control.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := daemonClient.Status(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("detached, and how the change goes on is not known: %w", err)
	case st.Changing != nil:
		return fmt.Errorf(
			"detached, and the outcome is open: %w (superctl status --watch follows it)",
			&api.BusyError{Changing: *st.Changing},
		)
	case st.Last != nil && st.Last.Result != api.Done:
		return &outcomeError{st.Last.Result}
	}
	return nil
}

func detachFlag() cli.Flag {
	return &cli.BoolFlag{
		Name:  "detach",
		Usage: "let the change go on when this command ends before it, by Ctrl-C or because a connection breaks",
	}
}

func liveText(st *api.Status) string {
	if st.Release == "" {
		return "no release is live"
	}
	return st.Release + " is live"
}

// conclude ends a command that has come to a result: told to people, or as JSON.
func (c *command) conclude(cc *cli.Context, out any, result api.Result, tell func()) error {
	if cc.Bool("json") {
		if err := c.json(out); err != nil {
			return err
		}
	} else {
		tell()
	}
	if result != api.Done {
		return &outcomeError{result}
	}
	return nil
}

func (c *command) json(v any) error {
	enc := json.NewEncoder(harmless{raw(c.stdout)})
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// tell says how a change ended. The verdict comes last, where it does not scroll away.
func (c *command) tell(app string, out *api.Outcome) {
	p := paletteFor(c.stdout)
	name := out.Release
	if out.Commit != "" {
		name += " (" + short(out.Commit) + ")"
	}
	for _, w := range out.Warnings {
		fmt.Fprintf(c.stdout, "%s %s\n", p.yellow("warning:"), w)
	}
	c.tellFailed(out)
	switch {
	case inPlace(out.Kind):
		c.tellInPlace(app, out)
	case out.Result == api.Done && !out.Changed:
		fmt.Fprintf(c.stdout, "%s: %s is live already; nothing to do\n", app, name)
	case out.Kind == string(api.Upgrade) && out.Result == api.Done:
		fmt.Fprintf(
			c.stdout, "%s: superctl %s %s in %s; the workers were not touched\n", app, p.bold(out.Release),
			p.green("is in charge"), seconds(out.Seconds),
		)
	case out.Kind == string(api.Upgrade):
		fmt.Fprintf(
			c.stdout, "%s: the upgrade %s: %s\nsuperctl %s is still in charge, untouched\n", app, p.red("was refused"),
			out.Error, out.Previous,
		)
	case out.Result == api.Done:
		was := ""
		if out.Previous != "" && out.Previous != out.Release {
			was = " (was " + out.Previous + ")"
		}
		fmt.Fprintf(
			c.stdout, "%s: %s %s%s in %s%s\n", app, p.bold(name), p.green("is live"), was, seconds(out.Seconds),
			cutoverText(out),
		)
	case out.Result == api.Reverted:
		fmt.Fprintf(
			c.stdout, "%s: %s %s: %s\n%s\n", app, p.bold(name), p.red("was reverted"), out.Error,
			stays(out, "is live again"),
		)
	default:
		fmt.Fprintf(
			c.stdout, "%s: %s %s: %s\n%s\n", app, p.bold(cmp.Or(name, out.Kind)), p.red("was refused"), out.Error,
			stays(out, untouched(out)),
		)
	}
}

// tellFailed shows the last lines of what has failed. Those of a hook were shown as it wrote them.
func (c *command) tellFailed(out *api.Outcome) {
	if out.Culprit != api.Hook {
		c.tellLog(string(cmp.Or(out.Culprit, api.Worker)), out.Log)
	}
}

// untouched says how the live release has come through a change that was refused.
func untouched(out *api.Outcome) string {
	if slices.ContainsFunc(out.Steps, func(s api.Step) bool { return s.Name == api.StepComeBack }) {
		return "is still live, and serves with all its workers again"
	}
	return "is still live, untouched"
}

func stays(out *api.Outcome, how string) string {
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

func forceFlag() cli.Flag {
	return &cli.BoolFlag{
		Name:  "force",
		Usage: "go even if the release does not know migrations that have been applied, or that cannot be found out ([django]); nothing else is overruled",
	}
}
