//go:build linux

package checkcommand

import (
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
)

// tryRelease runs `check RELEASE`.
func (c checks) tryRelease(cc *cli.Context, conf *config.Config, u *config.User, word string) error {
	ctx, interrupted := commandline.Interruptible()
	defer interrupted()
	show := c.Progress(cc)
	out, err := daemon.Try(ctx, conf, u, word, show.Event)
	show.End(console.VerdictOf(out)...)
	if err != nil {
		return err
	}
	left := notTried(conf)
	if cc.Bool("json") && len(left) > 0 {
		out.Warnings = append(out.Warnings, "not started, without a listener: "+strings.Join(left, ", "))
	}
	done := "the release works"
	if len(left) == len(conf.Processes) {
		done = "the release is complete"
	}
	return c.Conclude(cc, out, out.Result, done, func() { c.print().trial(conf, out, left) })
}

// notTried are the processes that a trial does not start: without a listener they have nothing to prove,
// and would do the app's real work.
func notTried(conf *config.Config) (names []string) {
	for i := range conf.Processes {
		if p := &conf.Processes[i]; len(p.Listen) == 0 {
			names = append(names, p.Name)
		}
	}
	return names
}

// trial prints the outcome of a trial. left are the processes that were not started.
func (pr printer) trial(conf *config.Config, out *api.Outcome, left []string) {
	app := conf.App
	p := terminal.PaletteFor(pr.Stdout)
	for _, w := range out.Warnings {
		terminal.Prose(pr.Stdout, "%s %s", p.Yellow("warning:"), w)
	}
	terminal.ProgramLog(pr.Stdout, "worker", out.Log)
	switch {
	case out.Result == api.Done && len(left) == len(conf.Processes):
		terminal.Prose(pr.Stdout, "%s: %s is complete. Nothing of it was started: without a listener, %s would do real work", app,
			p.Bold(out.Release), strings.Join(left, ", "))
		return
	case out.Result == api.Done:
		text := "its health check passed on a private socket"
		if len(left) > 0 {
			text += ". Not started, without a listener: " + strings.Join(left, ", ")
		}
		terminal.Prose(pr.Stdout, "%s: %s %s: %s", app, p.Bold(out.Release), p.Green("works"), text)
		return
	}
	terminal.Prose(pr.Stdout, "%s: %s %s: %s", app, p.Bold(out.Release), p.Red("does not work"), out.Error)
	if text := terminal.Exception(out.Log); text != "" {
		terminal.Prose(pr.Stdout, "  %s", text)
	}
}
