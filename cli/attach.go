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
	"superctl/cli/lookcommand"
	"superctl/cli/terminal"
	"superctl/daemon/control"
)

func attachCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "follow the change in progress", UsageText: "superctl attach [--json]",
		Description: `Shows the progress of the change that is in progress, and then its outcome, as the command does that
began it. The exit code is the same, too. If no change is in progress, it shows the outcome of the
last one. So nothing is lost if an ssh connection breaks, or after superctl switch --detach.

Ctrl-C ends only attach. superctl cancel cancels the change.

   superctl attach`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.attach(cc)
		},
	}
}

func (c *command) attach(cc *cli.Context) error {
	conf, daemonClient, err := app.Open(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	con, atEnd := c.WithWriteTimeouts()
	c = &command{con}
	defer atEnd()
	show := c.Progress(cc)
	listened := show.Listen(ctx, daemonClient, console.NewerThanLive)
	got, err := daemonClient.Attach(ctx, show.Event)
	listened()
	var out *api.Outcome
	if got != nil {
		out = got.Outcome
	}
	show.End(console.VerdictOf(out)...)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: the change continues; superctl attach follows it, superctl cancel cancels it")
	case err != nil:
		return err
	case out == nil:
		return errors.New("no change is in progress, and none has been made so far; superctl status shows what runs")
	case !got.InProgress:
		terminal.Prose(c.Stderr, "no change is in progress; the last one, %s by %s, began at %s:",
			lookcommand.ChangeName(out), out.By(out.Who), api.Moment(out.Started.Local()))
	}
	return c.Conclude(cc, out, out.Result, console.DoneOf(out, false), func() { c.print().outcome(conf.App, out) })
}

// detached is the output of a change with --detach and --json.
type detached struct {
	Detached bool              `json:"detached"`
	Changing *api.ChangeStatus `json:"changing"`
}

// hasBegun reports whether an event says that a change has begun, and would not be refused at once.
func hasBegun(ev api.Event) bool {
	return ev.Step != "" && ev.Step != api.StepWait && ev.Step != api.StepResolve
}

// detach reports on a change with --detach, which continues in the daemon, or has ended by now.
func (c *command) detach(cc *cli.Context, daemonClient *control.Client, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), app.AskTime)
	defer cancel()
	st, err := daemonClient.Status(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("the change has begun, and the daemon does not answer any more: %w; superctl attach shows the outcome", err)
	case st.Changing == nil && st.Last == nil: // the state of a daemon that was replaced in this moment
		return errors.New("the change has begun, and its state is unknown; superctl status shows what runs")
	case st.Changing == nil:
		return c.Conclude(cc, st.Last, st.Last.Result, console.DoneOf(st.Last, false), func() { c.print().outcome(name, st.Last) })
	}
	return c.Conclude(cc, detached{true, st.Changing}, api.Done, "the "+st.Changing.Kind+" has begun", func() {
		terminal.Prose(c.Stdout, "%s: the %s to %s continues in the daemon\nsuperctl attach follows it, superctl cancel cancels it",
			name, st.Changing.Kind, st.Changing.Release)
	})
}

func detachFlag() cli.Flag {
	return &cli.BoolFlag{
		Name:  "detach",
		Usage: "end as soon as the change has begun, and leave it to the daemon; superctl attach follows it",
	}
}
