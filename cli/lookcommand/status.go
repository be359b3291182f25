//go:build linux

package lookcommand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/version"
)

// watchEvery is the interval of `status --watch`.
const watchEvery = time.Second

// Status is the command superctl status.
func Status(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "status", Usage: "show what runs now",
		UsageText: "superctl status [--all] [--json] [--wide] [--watch | --env] [--exit-code]",
		Description: `Shows the live release, the generations with their workers, the listeners, and a change in progress.

   superctl status --watch           until Ctrl-C
   superctl status --env             the names of the environment variables, without values
   superctl status --json            for scripts
   superctl status --all             all apps of this host, as superctl ls shows them
   superctl status --exit-code       for monitoring: 0 ok, 1 degraded, 2 down, 3 the daemon cannot be reached`,
		Flags: []cli.Flag{
			commandline.JSONFlag(), commandline.WideFlag(), &cli.BoolFlag{
				Name: "watch", Aliases: []string{"w"}, Usage: "update the status every second, until Ctrl-C",
			},
			&cli.BoolFlag{Name: "exit-code", Usage: "set the exit code by the health: 0 ok, 1 degraded, 2 down"},
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "show all apps of this host in a table"},
			&cli.BoolFlag{
				Name:  "env",
				Usage: "list the environment variables of each process of the live release and their sources",
			},
		},
		Action: c.status,
	}
}

func (c *command) status(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	if cc.Bool("all") {
		if cc.Bool("env") {
			return commandline.Usagef("status: --all and --env exclude each other")
		}
		return watched(ctx, cc, func() error { return c.list(ctx, cc) })
	}
	collectLater()
	daemonClient, err := app.Client(cc)
	if err != nil {
		return err
	}
	if cc.Bool("env") {
		return c.print().showEnvironment(ctx, daemonClient, cc)
	}
	return watched(ctx, cc, func() error {
		st, err := daemonClient.Status(ctx)
		if err != nil {
			return err
		}
		return errors.Join(c.print().status(cc, &st), healthCode(cc, &st))
	})
}

// collectLater lets a short command make five times as much garbage as Go does by default before it is
// collected: for a status with a thousand workers that took a fifth of the command's CPU.
func collectLater() {
	const percent = 400
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// watched shows once, or with --watch every second until ctx ends. An exit code that show sets ends
// the command only without --watch.
func watched(ctx context.Context, cc *cli.Context, show func() error) error {
	for {
		err := show()
		var code *commandline.ExitError
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // an interrupt is how a watch ends
		case !cc.Bool("watch"), err != nil && !errors.As(err, &code):
			return err
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

func (pr printer) status(cc *cli.Context, st *api.Status) error {
	if cc.Bool("json") {
		return pr.JSON(st)
	}
	b := pr.NewText(cc)
	if cc.Bool("watch") && terminal.Redraws(pr.Stdout) {
		b.WriteString(terminal.ClearScreen)
	}
	writeStatus(b, st, terminal.PaletteFor(pr.Stdout), pr.Now())
	_, err := pr.Stdout.Write(b.Bytes())
	return err
}

// healthCode returns the error that sets the exit code of `status --exit-code`. The codes are those
// of monitoring plugins (Nagios, Icinga): 1 is warning, 2 is critical and 3, for a daemon that
// cannot be reached, is unknown.
func healthCode(cc *cli.Context, st *api.Status) error {
	switch {
	case !cc.Bool("exit-code") || st.Health == api.HealthOK:
		return nil
	case st.Health == api.HealthDegraded:
		return &commandline.ExitError{Code: 1}
	default:
		return &commandline.ExitError{Code: 2}
	}
}

// writeStatus writes a status that fits on a screen.
func writeStatus(w io.Writer, st *api.Status, p terminal.Palette, now time.Time) {
	writeLive(w, st, p, now)
	for _, t := range st.Troubles {
		if t.Why == st.Reason {
			continue
		}
		detail(w, "%s %s (%s)", p.Yellow(t.Of+":"), t.Why, terminal.Age(now, t.Since))
	}
	if st.Changing != nil {
		detail(w, "%s", changingText(st.Changing, p, now))
	}
	if st.Lock != nil {
		detail(w, "%s", p.Yellow(st.Lock.String()))
	}
	writeProcesses(w, st, p)
	writeGenerations(w, st, p, now)
	if len(st.Listeners) > 0 {
		fmt.Fprintln(w)
		listenerTable(st, p).Write(w, "  ")
	}
	writeCrons(w, st, p, now)
	fmt.Fprintln(w)
	detail(
		w, "daemon %s, pid %d, started %s; workers in %s", st.Version, st.PID, terminal.Age(now, st.Since), st.Containment,
	)
	if installed := version.String(); st.Version != installed {
		detail(w, "superctl %s is installed: superctl upgrade replaces the daemon, and keeps the workers", installed)
	}
}

// changingText describes the change in progress.
func changingText(ch *api.ChangeStatus, p terminal.Palette, now time.Time) string {
	step := ch.Step
	switch {
	case ch.Canary != nil:
		step = fmt.Sprintf("%s (%s)", step, canaryText(ch.Canary))
	case ch.OldShare > 0:
		step = fmt.Sprintf("%s (the old release has %s %% of the connections)", step, percentage(ch.OldShare))
	}
	return fmt.Sprintf(
		"%s: %s by %s, step %s, started %s", p.Yellow("changing"), ch.What(), ch.By(ch.Who), step,
		terminal.Age(now, ch.Since),
	)
}

// canaryText returns text for the part of the connections that a canary gets.
func canaryText(c *api.CanaryStatus) string {
	var parts []string
	for _, n := range c.Networks {
		parts = append(parts, n.String())
	}
	if c.Share > 0 {
		parts = append(parts, percentage(c.Share)+" %")
	}
	return strings.Join(parts, ", ")
}

func percentage(share float64) string { return strconv.FormatFloat(share, 'f', -1, 64) }

// writeProcesses prints the processes whose state differs from the config.
func writeProcesses(w io.Writer, st *api.Status, p terminal.Palette) {
	for _, ps := range st.Processes {
		var notes []string
		if ps.Paused {
			notes = append(notes, p.Yellow("paused")+" (superctl resume "+ps.Name+" starts it)")
		}
		if ps.Wanted != ps.Configured {
			notes = append(notes, fmt.Sprintf("scaled to %d (config: %d)", ps.Wanted, ps.Configured))
		}
		ready := fmt.Sprintf("%d of %d ready", ps.Ready, ps.Wanted)
		if !ps.Paused && ps.Ready != ps.Wanted && st.Changing == nil && !strings.Contains(st.Reason, ps.Name+": "+ready) {
			notes = append(notes, p.Yellow(ready))
		}
		if len(notes) > 0 {
			fmt.Fprintf(w, "  %s: %s\n", ps.Name, strings.Join(notes, ", "))
		}
	}
}

// detail writes an indented sentence of the status.
func detail(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, terminal.Wrap("  "+fmt.Sprintf(format, args...), terminal.Columns(w), 4))
}

// writeLive writes the live release and the health of the app.
func writeLive(w io.Writer, st *api.Status, p terminal.Palette, now time.Time) {
	if st.Changing == nil && (st.Expected != "" || st.Waiting || st.Release == "") {
		writeNoneLive(w, st, p)
		return
	}
	text := p.Bold(st.App) + ": "
	if st.Release != "" {
		text += p.Bold(terminal.WithCommit(st.Release, st.Commit)) + ", "
	}
	text += p.Health(st.Health, st.Health)
	switch since := liveSince(st); {
	case since.IsZero():
	case terminal.IsAhead(now, since):
		text += ", live since " + api.Moment(since) + ", which is in the future"
	default:
		text += ", live for " + terminal.Elapsed(now.Sub(since))
	}
	if st.LiveOrigin != nil {
		text += ", by " + st.LiveOrigin.By(st.LiveBy)
		if st.LiveOrigin.Run != "" {
			text += ", run " + st.LiveOrigin.Run
		}
	}
	if st.Previous != "" {
		text += ", previous " + st.Previous
	}
	terminal.Prose(w, "%s", text)
	if st.Reason != "" {
		detail(w, "%s", p.Health(st.Health, st.Reason))
	}
}

// writeNoneLive writes why no release is live, and what makes one live.
func writeNoneLive(w io.Writer, st *api.Status, p terminal.Palette) {
	const none = "no release is live"
	switch {
	case st.StartFailed, st.Expected != "": // an older daemon says only which release
		terminal.Prose(w, "%s: %s", p.Bold(st.App), p.Health(st.Health, none))
		detail(w, "%s", p.Health(st.Health, st.Reason))
		detail(w, "The daemon keeps trying; superctl switch RELEASE starts another release")
	case st.Waiting:
		terminal.Prose(w, "%s: no release is live yet", p.Bold(st.App))
		detail(w, "%s", p.Yellow(st.Reason))
		detail(w, "superctl takeover switches to a release; if the old server ends before, the daemon starts one by itself")
	default:
		terminal.Prose(
			w, "%s: %s; superctl switch RELEASE starts one (superctl releases lists them)", p.Bold(st.App),
			p.Health(st.Health, none),
		)
	}
}

// liveSince returns when the release became live. A state file of an earlier version does not
// record this time; then it is the time since when the live generation is live.
func liveSince(st *api.Status) time.Time {
	if !st.LiveSince.IsZero() {
		return st.LiveSince
	}
	for _, g := range st.Generations {
		if g.ID == st.Generation {
			return g.Since
		}
	}
	return time.Time{}
}

func listenerTable(st *api.Status, p terminal.Palette) *terminal.Table {
	var t terminal.Table
	t.Head(p, "LISTENER", "ADDRESS", "GATE", "GENERATION", "QUEUE")
	for _, l := range st.Listeners {
		gen := "-"
		if l.Generation != 0 {
			gen = fmt.Sprint(l.Generation)
		}
		if l.Canary != 0 && st.Changing != nil && st.Changing.Canary != nil {
			gen += fmt.Sprintf(", %d for %s", l.Canary, canaryText(st.Changing.Canary))
		}
		if l.Canary != 0 && st.Changing != nil && st.Changing.OldShare > 0 {
			gen += fmt.Sprintf(", %d for %s %%", l.Canary, percentage(st.Changing.OldShare))
		}
		queue := "-"
		if l.QueueLimit > 0 {
			queue = fmt.Sprintf("%d of %d", l.Queue, l.QueueLimit)
		}
		t.Row(l.Name, l.Address, l.Gate, gen, queue)
	}
	return &t
}
