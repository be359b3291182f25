//go:build linux

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
)

// signalTime limits how long the daemon may take to send a signal.
const signalTime = 10 * time.Second

func signalCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "signal", Usage: "send a signal to the workers of a process",
		UsageText: "superctl signal PROCESS SIGNAL [--json]",
		Description: `Sends HUP, USR1 or USR2 to the main process of each worker of PROCESS, including workers that drain
or are on standby. The server decides what a signal does: USR1 makes gunicorn and nginx reopen their
log files, which logrotate needs. A worker that does not handle the signal would be killed by it:
superctl does not send it, and the command fails.

   superctl signal web USR1`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 2, 2); err != nil {
				return err
			}
			req, err := signalRequest(cc.Args().First(), cc.Args().Get(1))
			if err != nil {
				return &commandline.UsageError{Err: err}
			}
			daemon, err := app.Client(cc)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), signalTime)
			defer cancel()
			out, err := daemon.Signal(ctx, req)
			if err != nil {
				return err
			}
			return c.Conclude(cc, out, signalResult(out), "the signal was sent", func() { c.print().signaled(out) })
		},
	}
}

// signalRequest parses the name of a signal like kill(1): with or without SIG, in any case.
func signalRequest(process, name string) (api.SignalRequest, error) {
	req := api.SignalRequest{Process: process, Signal: strings.TrimPrefix(strings.ToUpper(name), "SIG")}
	if !slices.Contains(api.Signals, req.Signal) {
		return req, fmt.Errorf(
			"signal: invalid signal %q: use one of %s (superctl restart and scale stop workers)", name,
			strings.Join(api.Signals, ", "),
		)
	}
	return req, nil
}

func signalResult(out *api.Signaled) api.Result {
	if out.Complete() {
		return api.Done
	}
	return api.Aborted
}

func (pr printer) signaled(out *api.Signaled) {
	p := terminal.PaletteFor(pr.Stdout)
	for _, w := range out.Workers {
		worker := fmt.Sprintf(
			"%s.%d of %s (generation %d, pid %d)", out.Process, w.Instance, w.Release, w.Generation, w.PID,
		)
		switch {
		case w.Sent:
			terminal.Prose(pr.Stdout, "%s: sent %s to %s", out.App, out.Signal, worker)
		case w.Failed:
			terminal.Prose(
				pr.Stdout, "%s: %s %s did not get %s: %s", out.App, p.Red("FAIL"), worker, out.Signal, w.Reason,
			)
		default:
			terminal.Prose(pr.Stdout, "%s: skipped %s: %s", out.App, worker, w.Reason)
		}
	}
	if len(out.Workers) == 0 {
		terminal.Prose(pr.Stdout, "%s: no worker of %s runs; nothing to do", out.App, out.Process)
	}
}
