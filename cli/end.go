package cli

import (
	"github.com/urfave/cli/v2"

	"superctl/daemon"
)

func (c *command) endCommand() *cli.Command {
	return &cli.Command{
		Name: "end", Usage: "end the workers that a daemon which is gone has left running",
		UsageText: "superctl end",
		Description: `The workers outlive a daemon that is killed, so that the site goes on and the next daemon adopts them.
This lets them finish what they have and ends them, for when there is to be no next daemon. The unit
runs it after the end of the daemon; when systemd is about to start another, it does nothing.

   superctl end`,
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			path, err := configPath(cc)
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			return daemon.End(ctx, path, raw(c.stderr))
		},
	}
}
