//go:build linux

package cli

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
)

func cancelCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "cancel", Usage: "cancel the change in progress",
		UsageText: "superctl cancel [--why TEXT] [--by NAME] [--json]",
		Description: `Cancels the change in progress, as Ctrl-C does in the command that began it: ends its hooks, stops the
new workers, and waits until that is done. The live release stays live. If no change is in progress,
there is nothing to do.

After its cutover a change cannot be canceled: superctl rollback goes back.

   superctl cancel
   superctl cancel --why "the migration locks the orders table"`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "why", Usage: "the reason, as `TEXT`; the outcome and the history show it"},
			&cli.StringFlag{Name: "by", Usage: "the `NAME` of the person, if others share the account"},
			commandline.JSONFlag(),
		},
		Action: c.cancel,
	}
}

func (c *command) cancel(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	req := api.CancelRequest{Why: strings.TrimSpace(cc.String("why")), Origin: api.Origin{Behalf: cc.String("by")}}
	if err := req.Validate(); err != nil {
		return commandline.Usagef("cancel: %w", err)
	}
	conf, daemonClient, err := app.Open(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	got, err := daemonClient.Cancel(ctx, req)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: the change is being canceled; superctl attach shows the outcome")
	}
	if err != nil {
		return err
	}
	result, done := api.Done, "the change was canceled"
	if got.Change == nil {
		done = "there was nothing to cancel"
	}
	if got.Change != nil && !got.Canceled {
		result = api.Aborted
	}
	return c.Conclude(cc, got, result, done, func() { c.print().canceled(conf.App, got) })
}

// canceled prints what became of a change that was to be canceled.
func (pr printer) canceled(app string, got *api.Canceled) {
	p := terminal.PaletteFor(pr.Stdout)
	out := got.Change
	if out == nil {
		terminal.Prose(pr.Stdout, "%s: no change is in progress; nothing to cancel", app)
		return
	}
	name := out.Kind
	if out.Release != "" {
		name += " to " + out.Release
	}
	if !got.Canceled {
		terminal.Prose(pr.Stdout, "%s: the %s %s before it could be canceled\nsuperctl rollback goes back", app, name, p.Yellow("was done"))
		return
	}
	for _, w := range out.Warnings {
		terminal.Prose(pr.Stdout, "%s %s", p.Yellow("warning:"), w)
	}
	step := ""
	if out.FailedStep != "" {
		step = " in step " + out.FailedStep
	}
	terminal.Prose(pr.Stdout, "%s: the %s %s%s\n%s", app, name, p.Green("is canceled"), step, previousText(out, liveState(out)))
}
