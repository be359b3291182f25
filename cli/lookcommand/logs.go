//go:build linux

package lookcommand

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/daemon/control"
)

// Logs is the command superctl logs.
func Logs(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "logs", Usage: "show the output of the workers",
		UsageText: "superctl logs [-f] [-n COUNT] [--process NAME] [--release NAME] [--heartbeat DURATION] [--json]",
		Description: `Shows the newest lines of the workers' stdout and stderr that the daemon keeps in memory. The
journal has all lines, with the fields SUPERCTL_RELEASE, SUPERCTL_PROCESS, SUPERCTL_GENERATION and
SUPERCTL_INSTANCE. With --json each line is an object.

   superctl logs -f --process web
   journalctl SUPERCTL_APP=shop SUPERCTL_RELEASE=2026-11-23-1`,
		Flags: []cli.Flag{
			commandline.JSONFlag(),
			&cli.BoolFlag{
				Name: "f", Aliases: []string{"follow"}, Usage: "also show new lines, until Ctrl-C",
			},
			&cli.IntFlag{Name: "n", Aliases: []string{"lines"}, Value: 50, Usage: "show the newest `COUNT` lines"},
			&cli.StringFlag{Name: "process", Usage: "show only the process `NAME`"},
			&cli.StringFlag{Name: "release", Usage: "show only the release `NAME`"},
			console.HeartbeatFlag(),
		},
		Action: c.logs,
	}
}

func (c *command) logs(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	if cc.Int("n") < 0 {
		return commandline.Usagef("logs: -n %d: use a number of lines from 0", cc.Int("n"))
	}
	daemonClient, err := app.Client(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	if cc.Duration("heartbeat") > 0 {
		console.AfterClient(cc, stop)
	}
	q := api.LogQuery{
		Process: cc.String("process"), Release: cc.String("release"), Lines: cc.Int("n"), Follow: cc.Bool("f"),
	}
	if q.Follow {
		if err := unknownProcess(ctx, daemonClient, q.Process); err != nil {
			return err
		}
	}
	lines, err := c.showLines(ctx, stop, daemonClient, q, cc.Bool("json"))
	if err != nil || lines > 0 || ctx.Err() != nil {
		return err
	}
	if err := unknownProcess(ctx, daemonClient, q.Process); err != nil {
		return err
	}
	if ctx.Err() == nil && !cc.Bool("json") {
		terminal.Prose(c.Stderr, "superctl: %s", noLines(cc, q))
	}
	return nil
}

// showLines prints the lines of a query, and returns how many there were. It calls stop when one cannot be
// written.
func (c *command) showLines(
	ctx context.Context, stop func(), daemonClient *control.Client, q api.LogQuery, asJSON bool,
) (lines int, err error) {
	var unwritten error
	err = daemonClient.Logs(ctx, q, func(l api.LogLine) {
		if unwritten != nil {
			return
		}
		lines++
		if unwritten = c.logLine(l, asJSON); unwritten != nil {
			stop()
		}
	})
	if unwritten != nil {
		return lines, &console.UnwrittenError{Err: unwritten}
	}
	return lines, err
}

// logLine prints a line of a worker, as a line of JSON or for people. A file or another program gets
// the unchanged bytes of its text.
func (c *command) logLine(l api.LogLine, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(l)
		if err != nil {
			return err
		}
		return terminal.WriteJSONLine(c.Stdout, line)
	}
	out := terminal.Raw(c.Stdout)
	if terminal.Is(out) {
		out = c.Stdout
	}
	origin := fmt.Sprintf("%s %s.%d %s |", logTime(l.Time, c.Now()), l.Process, l.Instance, l.Release)
	_, err := fmt.Fprintf(out, "%s %s\n", terminal.PaletteFor(c.Stdout).Dim(origin), l.Text)
	return err
}

// logTime returns the local time of a line, with its date unless that is today's.
func logTime(at, now time.Time) string {
	at, now = at.Local(), now.Local()
	if at.Year() == now.Year() && at.YearDay() == now.YearDay() {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// unknownProcess returns an error if the app has neither a process nor a scheduled command of a name. The
// daemon may still keep lines of a process that the app had.
func unknownProcess(ctx context.Context, daemonClient *control.Client, name string) error {
	if name == "" {
		return nil
	}
	st, err := daemonClient.Status(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, p := range st.Processes {
		names = append(names, p.Name)
	}
	for _, c := range st.Cron {
		names = append(names, c.Name)
	}
	if len(names) == 0 || slices.Contains(names, name) {
		return nil
	}
	return commandline.Usagef("logs: there is no process %q: %s has %s", name, st.App, strings.Join(names, ", "))
}

// noLines returns why there may be no lines, and where there may be more.
func noLines(cc *cli.Context, q api.LogQuery) string {
	of := ""
	if q.Process != "" {
		of += " of process " + q.Process
	}
	if q.Release != "" {
		of += " of release " + q.Release
	}
	return fmt.Sprintf("the daemon keeps no lines%s; journalctl -u superctl@%s has older ones", of, app.ExampleName(cc))
}
