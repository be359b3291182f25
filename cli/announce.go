//go:build linux

package cli

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
)

// announceTime limits how long the daemon may take to note the report of a run.
const announceTime = 10 * time.Second

func notifyCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "notify", Usage: "notify the team of the end of a deploy over several hosts",
		UsageText: "superctl notify --run ID [--by NAME] --outcome done|aborted|reverted --hosts HOST,... " +
			"[--behind HOST,...] [--kind KIND] [--maintenance STATE] [--fleet NAME] [--release RELEASE] [--previous RELEASE] [--error TEXT] " +
			"[--seconds NUMBER]",
		Description: `For tools that deploy to several hosts: the team gets one message for all of them, through the [notify]
targets of this host. While the app is locked for the run (superctl lock --run ID), messages about
the ends of its changes on this host are held back; this command replaces them. If the lock ends
before, they are sent. Changes with --follower send none. A second report of the same run is ignored.

   superctl notify --run 20261129-1 --by anna --outcome done --release 2026-11-23 --hosts web1,web2`,
		Flags: append(runFlags(),
			&cli.StringFlag{Name: "outcome", Usage: "how the run has ended: `RESULT` is done, aborted or reverted"},
			&cli.StringSliceFlag{Name: "hosts", Usage: "each `HOST` of the run"},
			&cli.StringSliceFlag{Name: "behind", Usage: "each `HOST` that runs another release than the others, or may"},
			&cli.StringFlag{Name: "kind", Value: "deploy", Usage: "`KIND` of the run: deploy, switch, rollback, reload or maintenance"},
			&cli.StringFlag{Name: "maintenance", Usage: "`STATE` of the kind maintenance: on or off"},
			&cli.StringFlag{Name: "fleet", Usage: "the `NAME` of the environment, such as production"},
			&cli.StringFlag{Name: "release", Usage: "the `RELEASE` that all hosts should run"},
			&cli.StringFlag{Name: "previous", Usage: "the `RELEASE` before"},
			&cli.StringFlag{Name: "error", Usage: "why the run has failed, or why a host is behind, as `TEXT`"},
			&cli.Float64Flag{Name: "seconds", Usage: "how long the run took, as a `NUMBER` of seconds"},
		),
		Action: c.announce,
	}
}

func (c *command) announce(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	r := api.RunReport{
		Kind: cc.String("kind"), Maintenance: cc.String("maintenance"), Fleet: cc.String("fleet"), Result: api.Result(cc.String("outcome")),
		Release: cc.String("release"), Previous: cc.String("previous"), Hosts: cc.StringSlice("hosts"),
		Behind: cc.StringSlice("behind"), Error: cc.String("error"), Seconds: cc.Float64("seconds"),
		Origin: api.Origin{Run: cc.String("run"), Behalf: cc.String("by")},
	}
	if err := r.Validate(); err != nil {
		return commandline.Usagef("notify: %w", err)
	}
	daemonClient, err := app.Client(cc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), announceTime)
	defer cancel()
	return daemonClient.Announce(ctx, r)
}
