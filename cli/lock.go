//go:build linux

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
)

func lockCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "lock", Usage: "accept only the changes of one run, until this command ends",
		UsageText: "superctl lock --run ID --why TEXT [--by NAME] [--heartbeat DURATION] [--json]",
		Description: `Prints "locked" once the app is locked. Until standard input ends or has a line other than "wait",
or the command ends, changes without the same --run are refused as busy (exit code 4), naming the run and TEXT.

The lock lives as long as its connection to the daemon: it is never left behind. A restart or the
death of the daemon ends it, and then the command exits with 3. An upgrade is refused meanwhile.

   superctl lock --run 20261129-1 --why "deploy of 2026-11-23"`,
		Flags: append(runFlags(), &cli.StringFlag{Name: "why", Usage: "the reason; others see this `TEXT`"},
			console.HeartbeatFlag(), commandline.JSONFlag()),
		Action: c.lock,
	}
}

func (c *command) lock(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	l := api.Lock{Why: cc.String("why"), Origin: api.Origin{Run: cc.String("run"), Behalf: cc.String("by")}}
	switch {
	case l.Run == "":
		return commandline.Usagef("lock: missing option --run ID: it says whose changes are accepted")
	case l.Why == "":
		return commandline.Usagef("lock: missing option --why TEXT: it tells others why their changes are refused")
	}
	if err := l.Validate(); err != nil {
		return commandline.Usagef("lock: %w", err)
	}
	daemonClient, err := app.Client(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	ctx, release := context.WithCancel(ctx)
	defer release()
	console.AfterClient(cc, release)
	had := false
	err = daemonClient.Lock(ctx, l, func() {
		had = true
		if cc.Bool("json") {
			_ = terminal.WriteJSONLine(c.Stdout, fmt.Appendf(nil, `{"locked":true,"run":%q}`, l.Run))
			return
		}
		fmt.Fprintln(c.Stdout, "locked")
	})
	if ctx.Err() != nil && !had {
		return errors.New("lock: it was ended before the app was locked: the lock lasts as long as this command " +
			"and its standard input, which must stay open")
	}
	return err
}
