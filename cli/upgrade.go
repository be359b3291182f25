//go:build linux

package cli

import (
	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
)

func upgradeCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "replace the running daemon with the installed superctl",
		UsageText: "superctl upgrade",
		Description: `Install the new superctl over the old one, then run this command. The new daemon takes over the
listeners and the workers; the site is not interrupted. If the new daemon cannot take over, the old
one keeps running.

   superctl upgrade`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.change(cc, api.Request{Kind: api.Upgrade})
		},
	}
}
