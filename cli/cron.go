//go:build linux

package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/lookcommand"
	"superctl/cli/terminal"
)

func cronCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "cron", Usage: "show the scheduled commands, or run one now",
		UsageText: "superctl cron [--wide] [--json] | superctl cron run NAME [--json]",
		Description: `Without arguments: lists the scheduled commands of the live release ([cron.NAME] in the config), when
each is due next, and how its last run ended.

With "run NAME": runs one now in the live release, as the daemon would, and shows what it writes.
Ctrl-C ends it. The exit code is 0 after exit code 0 of the command, and 1 after any other.

   superctl cron
   superctl cron run clear-sessions
   superctl logs --process clear-sessions      what earlier runs wrote`,
		Flags:  []cli.Flag{commandline.JSONFlag(), commandline.WideFlag()},
		Action: c.cron,
	}
}

func (c *command) cron(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 2); err != nil {
		return err
	}
	words := cc.Args().Slice()
	switch {
	case len(words) > 0 && words[0] != "run":
		return commandline.Usagef("cron: unexpected argument %q: superctl cron run NAME runs a command", words[0])
	case len(words) == 1:
		return commandline.Usagef("cron run: missing argument NAME: superctl cron lists the scheduled commands")
	}
	daemon, err := app.Client(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	if len(words) == 2 {
		out := c.Stdout
		if cc.Bool("json") {
			out = c.Stderr
		}
		ran, err := daemon.RunCron(ctx, api.CronRequest{Name: words[1]}, func(line string) { fmt.Fprintln(out, line) })
		if err != nil {
			return err
		}
		return c.Conclude(cc, ran, cronResult(ran), "the command has run", func() { c.print().ranCron(ran) })
	}
	st, err := daemon.Status(ctx)
	if err != nil {
		return err
	}
	if cc.Bool("json") {
		return c.JSON(append([]api.CronStatus{}, st.Cron...))
	}
	return c.print().crons(cc, &st)
}

func cronResult(ran *api.CronRun) api.Result {
	if ran.Result == api.CronDone {
		return api.Done
	}
	return api.Aborted
}

// ranCron prints how a run ended. What the command wrote is on stdout, so this goes to stderr.
func (pr printer) ranCron(ran *api.CronRun) {
	p := terminal.PaletteFor(pr.Stderr)
	verdict := p.Green("done")
	if ran.Result != api.CronDone {
		verdict = p.Red(string(ran.Result) + ": " + ran.Error)
	}
	terminal.Prose(pr.Stderr, "%s in %s, after %s: %s", ran.Name, ran.Release, terminal.Seconds(ran.Seconds), verdict)
}

// crons prints a table of the scheduled commands.
func (pr printer) crons(cc *cli.Context, st *api.Status) error {
	b := pr.NewText(cc)
	switch {
	case st.Release == "":
		terminal.Prose(b, "%s: no release is live, so no command is scheduled; superctl switch RELEASE starts one", st.App)
	case len(st.Cron) == 0:
		terminal.Prose(b, "%s: the live release has no scheduled commands; write [cron.NAME] in %s, then run superctl reload",
			st.App, st.Config)
	default:
		lookcommand.CronTable(st.Cron, terminal.PaletteFor(pr.Stdout), pr.Now()).Write(b, "")
	}
	_, err := pr.Stdout.Write(b.Bytes())
	return err
}
