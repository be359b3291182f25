package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/config"
	"superctl/daemon"
)

// tryRelease is `check RELEASE`.
func (c *command) tryRelease(cc *cli.Context, conf *config.Config, u *config.User, word string) error {
	ctx, interrupted := interruptible()
	defer interrupted()
	show := c.progress(cc)
	out, err := daemon.Try(ctx, conf, u, word, show.event)
	show.end()
	if err != nil {
		return err
	}
	return c.conclude(cc, out, out.Result, func() { c.tellTrial(conf.App, out) })
}

// tellTrial says how a trial has ended.
func (c *command) tellTrial(app string, out *api.Outcome) {
	p := paletteFor(c.stdout)
	for _, w := range out.Warnings {
		fmt.Fprintf(c.stdout, "%s %s\n", p.yellow("warning:"), w)
	}
	c.tellLog("worker", out.Log)
	if out.Result == api.Done {
		fmt.Fprintf(
			c.stdout, "%s: %s %s: it was started on a private socket and is healthy\n", app, p.bold(out.Release),
			p.green("works"),
		)
		return
	}
	fmt.Fprintf(c.stdout, "%s: %s %s: %s\n", app, p.bold(out.Release), p.red("does not work"), out.Error)
}
