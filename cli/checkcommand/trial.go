//go:build linux

package checkcommand

import (
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
	return c.Conclude(cc, out, out.Result, "the release works", func() { c.print().trial(conf.App, out) })
}

// trial prints the outcome of a trial.
func (pr printer) trial(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	for _, w := range out.Warnings {
		terminal.Prose(pr.Stdout, "%s %s", p.Yellow("warning:"), w)
	}
	terminal.ProgramLog(pr.Stdout, "worker", out.Log)
	if out.Result == api.Done {
		terminal.Prose(
			pr.Stdout, "%s: %s %s: its health check passed on a private socket", app, p.Bold(out.Release),
			p.Green("works"),
		)
		return
	}
	terminal.Prose(pr.Stdout, "%s: %s %s: %s", app, p.Bold(out.Release), p.Red("does not work"), out.Error)
	if text := terminal.Exception(out.Log); text != "" {
		terminal.Prose(pr.Stdout, "  %s", text)
	}
}
