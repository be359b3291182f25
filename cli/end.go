//go:build linux

package cli

import (
	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/daemon"
)

func endCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "end", Usage: "stop workers orphaned by a dead daemon",
		UsageText: "superctl end",
		Description: `Workers outlive a daemon that is killed: the site keeps serving, and the next daemon adopts them. If
no daemon follows, this command lets them finish their requests and stops them. The unit runs it
after the daemon has ended. If systemd is about to start the next daemon, it does nothing.

   superctl end`,
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			path, err := app.ConfigPath(cc)
			if err != nil {
				return err
			}
			ctx, stop := commandline.Interruptible()
			defer stop()
			return daemon.End(ctx, path, terminal.Raw(c.Stderr))
		},
	}
}
