//go:build linux

package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/daemon"
	"superctl/version"
)

func daemonCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "daemon", Usage: "run the app: its listeners and its workers", UsageText: "superctl daemon",
		Description: `Runs in the foreground, for systemd (superctl@.service) or a container. The daemon starts the
release that was last live, else the release that the current link points to. Without either it
waits for a switch.

SIGTERM lets the workers finish and then ends the daemon; a second SIGTERM stops them at once.
SIGHUP reloads, SIGUSR1 reopens the log file, SIGUSR2 upgrades. When systemd restarts the service,
the workers keep running and the next daemon adopts them.`,
		Flags: []cli.Flag{&cli.BoolFlag{
			Name: "dry-run", Usage: "read the config and the state like a start, but start nothing",
		}},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			path, err := app.ConfigPath(cc)
			if err != nil {
				return err
			}
			if cc.Bool("dry-run") {
				if err := daemon.DryRun(path); err != nil {
					return err
				}
				fmt.Fprintln(c.Stdout, version.String())
				return nil
			}
			return daemon.Run(path, terminal.Raw(c.Stderr))
		},
	}
}
