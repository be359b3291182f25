//go:build linux

package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
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
		return c.Conclude(cc, ran, cronResult(ran), func() { c.print().ranCron(ran) })
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
		cronTable(st.Cron, terminal.PaletteFor(pr.Stdout), pr.Now()).Write(b, "")
	}
	_, err := pr.Stdout.Write(b.Bytes())
	return err
}

// cronTable has a row for each scheduled command, and below it what is wrong.
func cronTable(list []api.CronStatus, p terminal.Palette, now time.Time) *terminal.Table {
	t := new(terminal.Table)
	t.Head(p, "NAME", "SCHEDULE", "NEXT", "LAST", "OUTCOME", "DURATION")
	for i := range list {
		c := &list[i]
		schedule, duration := c.Schedule, "-"
		if c.Timezone != "" {
			schedule += " " + c.Timezone
		}
		last, outcome := cronLast(c, p, now)
		ended := len(c.Running) == 0 && c.Last != nil
		if ended && c.Last.Seconds > 0 { // else it is not known
			duration = terminal.Seconds(c.Last.Seconds)
		}
		t.Row(c.Name, schedule, cronNext(c, now), last, outcome, duration)
		for _, why := range cronNotes(c) {
			t.Row("", "  "+p.Yellow(why))
		}
		if ended && c.Last.Error != "" {
			t.Row("", "  "+p.Red(c.Last.Error))
		}
	}
	return t
}

// cronNotes returns what a person must know of a command that does not run as scheduled.
func cronNotes(c *api.CronStatus) (list []string) {
	if c.Reason != "" {
		list = append(list, c.Reason)
	}
	if c.Skipped > 0 {
		list = append(list, fmt.Sprintf("skipped %d times, because it still runs: use a longer interval, a timeout or overlap", c.Skipped))
	}
	return list
}

// cronNext returns when a command is due next.
func cronNext(c *api.CronStatus, now time.Time) string {
	switch {
	case c.Next == nil:
		return "-"
	case !c.Next.After(now):
		return "due"
	}
	return "in " + terminal.Elapsed(c.Next.Sub(now))
}

// cronLast returns when the newest run of a command began, and how it ended.
func cronLast(c *api.CronStatus, p terminal.Palette, now time.Time) (began, outcome string) {
	switch {
	case len(c.Running) > 0:
		return terminal.Age(now, c.Running[len(c.Running)-1].Began), p.Yellow("running")
	case c.Last == nil:
		return "-", "-"
	case c.Last.Result == api.CronDone:
		return terminal.Age(now, c.Last.Began), p.Green(string(c.Last.Result))
	default:
		return terminal.Age(now, c.Last.Began), p.Red(string(c.Last.Result))
	}
}

// writeCrons writes the scheduled commands, for the status.
func writeCrons(w io.Writer, st *api.Status, p terminal.Palette, now time.Time) {
	if len(st.Cron) == 0 {
		return
	}
	var t terminal.Table
	t.Head(p, "CRON", "NEXT", "LAST", "OUTCOME")
	for i := range st.Cron {
		c := &st.Cron[i]
		last, outcome := cronLast(c, p, now)
		t.Row(c.Name, cronNext(c, now), last, outcome)
	}
	fmt.Fprintln(w)
	t.Write(w, "  ")
}
