package cli

import (
	"github.com/urfave/cli/v2"

	"superctl/api"
)

func (c *command) upgradeCommand() *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "replace the daemon by the superctl that is installed now; the site does not notice",
		UsageText: "superctl upgrade",
		Description: `Install the new superctl over the old one, then run this. The new daemon takes over the listeners
and the workers as they are; if it cannot, the old one goes on.

   superctl upgrade`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.change(cc, api.Request{Kind: api.Upgrade})
		},
	}
}
