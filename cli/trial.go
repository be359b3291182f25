//go:build linux

package cli

import (
	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
)

// tryRelease runs `check RELEASE`.
func (c checks) tryRelease(cc *cli.Context, conf *config.Config, u *config.User, word string) error {
	ctx, interrupted := commandline.Interruptible()
	defer interrupted()
	show := c.progress(cc)
	out, err := daemon.Try(ctx, conf, u, word, show.event)
	show.end(verdictOf(out)...)
	if err != nil {
		return err
	}
	return c.conclude(cc, out, out.Result, func() { c.print().trial(conf.App, out) })
}

// trial prints the outcome of a trial.
func (pr printer) trial(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.stdout)
	for _, w := range out.Warnings {
		terminal.Prose(pr.stdout, "%s %s", p.Yellow("warning:"), w)
	}
	terminal.ProgramLog(pr.stdout, "worker", out.Log)
	if out.Result == api.Done {
		terminal.Prose(
			pr.stdout, "%s: %s %s: its health check passed on a private socket", app, p.Bold(out.Release),
			p.Green("works"),
		)
		return
	}
	terminal.Prose(pr.stdout, "%s: %s %s: %s", app, p.Bold(out.Release), p.Red("does not work"), out.Error)
	if text := terminal.Exception(out.Log); text != "" {
		terminal.Prose(pr.stdout, "  %s", text)
	}
}
