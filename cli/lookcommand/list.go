//go:build linux

package lookcommand

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/host"
)

// List is the command superctl list.
func List(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "ls", Usage: "list all apps of this host",
		UsageText: "superctl ls [--json] [--wide] [--exit-code]",
		Description: `Lists every app with a config in /etc/superctl or with a running daemon: its live release, its
health, its workers, and its requests. Below an app that is not ok is the reason, such as that its
daemon does not run, or that this user may not ask it. With --exit-code, the exit code is the first of
2, 3 and 1 that applies to an app.

   superctl ls
   superctl ls --json                for scripts: the status of each app
   superctl ls --exit-code           for monitoring: 0 ok, 1 degraded, 2 down, 3 a daemon cannot be reached`,
		Flags: []cli.Flag{
			commandline.JSONFlag(), commandline.WideFlag(),
			&cli.BoolFlag{Name: "exit-code", Usage: "set the exit code by the health of all apps"},
		},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			ctx, stop := commandline.Interruptible()
			defer stop()
			return c.list(ctx, cc)
		},
	}
}

// list prints all apps of the host, for `ls` and `status --all`.
func (c *command) list(ctx context.Context, cc *cli.Context) error {
	if cc.IsSet("app") || cc.IsSet("config") {
		return commandline.Usagef("%s shows all apps of this host: leave --app and --config out", cc.Command.Name)
	}
	apps, unreadable := host.Ask(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if unreadable != nil {
		terminal.Prose(c.Stderr, "superctl: %v", unreadable)
	}
	if err := c.print().apps(cc, apps); err != nil {
		return err
	}
	return hostCode(cc, apps, unreadable)
}

const noApps = "no apps on this host: no config in /etc/superctl and no running daemon; superctl init sets one up"

func (pr printer) apps(cc *cli.Context, apps []host.App) error {
	if cc.Bool("json") {
		return pr.JSON(apps)
	}
	b := pr.NewText(cc)
	if cc.Bool("watch") && terminal.Redraws(pr.Stdout) {
		b.WriteString(terminal.ClearScreen)
	}
	if len(apps) == 0 {
		terminal.Prose(b, noApps)
	} else {
		appTable(apps, terminal.PaletteFor(pr.Stdout), pr.Now()).Write(b, "")
	}
	_, err := pr.Stdout.Write(b.Bytes())
	return err
}

// hostCode returns the error that sets the exit code of `ls --exit-code`: the worst of healthCode's
// for all apps. An app that is down is worse than one of which nothing is known.
func hostCode(cc *cli.Context, apps []host.App, unreadable error) error {
	const degraded, down, unknown = 1, 2, 3
	var found [4]bool
	found[unknown] = unreadable != nil
	for i := range apps {
		switch st := apps[i].Status; {
		case st == nil:
			found[unknown] = true
		case st.Health == api.HealthDegraded:
			found[degraded] = true
		case st.Health != api.HealthOK:
			found[down] = true
		}
	}
	for _, code := range []int{down, unknown, degraded} {
		if cc.Bool("exit-code") && found[code] {
			return &commandline.ExitError{Code: code}
		}
	}
	return nil
}

func appTable(apps []host.App, p terminal.Palette, now time.Time) *terminal.Table {
	var t terminal.Table
	t.Head(p, "APP", "RELEASE", "HEALTH", "LIVE FOR", "WORKERS", "REQUESTS", "5XX")
	for i := range apps {
		a := &apps[i]
		if a.Status == nil {
			t.Row(p.Bold(a.Name), "-", p.Red(a.Health()), "-", "-", "-", "-")
			t.Row("", "  "+p.Red(a.Error))
			continue
		}
		t.Row(appRow(a, p, now)...)
		for _, line := range appLines(a.Status, p, now) {
			t.Row("", "  "+line)
		}
	}
	return &t
}

func appRow(a *host.App, p terminal.Palette, now time.Time) []string {
	st := a.Status
	since := "-"
	if at := liveSince(st); st.Release != "" && !at.IsZero() && !terminal.IsAhead(now, at) {
		since = terminal.Elapsed(now.Sub(at))
	}
	ready, wanted := 0, 0
	for _, process := range st.Processes {
		ready, wanted = ready+process.Ready, wanted+process.Wanted
	}
	requests, failed := "-", "-"
	if r := st.Requests; r != nil {
		requests, failed = number(r.Started), number(r.Status5xx)
		if r.Status5xx > 0 {
			failed = fmt.Sprintf("%s (%s)", failed, percent(r.Status5xx, r.Ended()))
		}
	}
	return []string{
		p.Bold(a.Name), terminal.Dash(st.Release), p.Health(st.Health, st.Health), since,
		fmt.Sprintf("%d of %d", ready, wanted), requests, failed,
	}
}

// appLines returns what else a person should know of an app: what is wrong, and what changes.
func appLines(st *api.Status, p terminal.Palette, now time.Time) (lines []string) {
	if st.Reason != "" {
		lines = append(lines, p.Health(st.Health, st.Reason))
	}
	for _, t := range st.Troubles {
		if t.Why != st.Reason {
			lines = append(lines, p.Yellow(t.Of+":")+" "+t.Why)
		}
	}
	if st.Changing != nil {
		lines = append(lines, changingText(st.Changing, p, now))
	}
	if st.Lock != nil {
		lines = append(lines, p.Yellow(st.Lock.String()))
	}
	return lines
}
