//go:build linux

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
)

func restartCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "restart", Usage: "restart the workers of one process",
		UsageText: "superctl restart PROCESS [--instance N] [--run ID [--by NAME]] [--json]",
		Description: `Replaces the workers of PROCESS, with the live release and the config that it was started with. If
PROCESS has listeners, the new workers are checked before they get connections, as in a switch: no
request is lost.

   superctl restart worker
   superctl restart worker --instance 1     only worker.1`,
		Flags: append(runFlags(), commandline.JSONFlag(), &cli.IntFlag{
			Name: "instance", Value: -1,
			Usage: "only the instance `N`, from 0; a process with listeners needs strategy = \"rolling\"",
		}),
		Action: func(cc *cli.Context) error {
			if err := restartHint(cc); err != nil {
				return err
			}
			if err := commandline.Arguments(cc, 1, 1); err != nil {
				return err
			}
			req, err := changeRequest(cc, api.Restart)
			if err != nil {
				return err
			}
			req.Process = cc.Args().First()
			if cc.IsSet("instance") {
				n := cc.Int("instance")
				req.Instance = &n
			}
			return c.change(cc, req)
		},
	}
}

func scaleCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "scale", Usage: "change the number of instances of a process",
		UsageText: "superctl scale PROCESS=N [PROCESS=N ...] | --reset [--run ID [--by NAME]] [--json]",
		Description: `Runs N instances of a process instead of the number in the config. The number stays in force over
switches, reloads and restarts of the daemon, until the next scale or scale --reset. New instances
are checked before they get requests; surplus instances finish their requests. superctl status shows
the wanted and the actual number.

   superctl scale web=8 worker=4
   superctl scale --reset                   use the numbers in the config (also: scale --config)`,
		Flags: append(runFlags(), commandline.JSONFlag(), &cli.BoolFlag{
			Name: "reset", Usage: "use the numbers in the config again",
		}),
		Action: func(cc *cli.Context) error {
			req, err := changeRequest(cc, api.Scale)
			if err != nil {
				return err
			}
			if cc.Bool("reset") {
				if err := commandline.Arguments(cc, 0, 0); err != nil {
					return err
				}
				return c.change(cc, req)
			}
			if err := commandline.Arguments(cc, 1, 100); err != nil {
				return err
			}
			if req.Instances, err = parseInstances(cc.Args().Slice()); err != nil {
				return commandline.Usagef("scale: %w", err)
			}
			return c.change(cc, req)
		},
	}
}

// parseInstances parses words such as web=8.
func parseInstances(words []string) (map[string]int, error) {
	all := make(map[string]int)
	for _, word := range words {
		name, number, ok := strings.Cut(word, "=")
		n, err := strconv.Atoi(number)
		switch {
		case !ok || name == "" || err != nil:
			return nil, fmt.Errorf("invalid argument %q: use PROCESS=NUMBER, such as web=8", word)
		case n < 0:
			return nil, fmt.Errorf("invalid argument %q: the number of instances is negative", word)
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("process %s is given twice", name)
		}
		all[name] = n
	}
	return all, nil
}

func pauseCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "stop a background process until it is resumed",
		UsageText: "superctl pause PROCESS [--run ID [--by NAME]] [--json]",
		Description: `Lets the workers of a background process finish their tasks and starts none until superctl resume.
The pause stays in force over switches and restarts of the daemon. A process with listeners cannot
be paused.

   superctl pause worker`,
		Flags:  append(runFlags(), commandline.JSONFlag()),
		Action: c.onProcess(api.Pause),
	}
}

func resumeCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "start a paused process", UsageText: "superctl resume PROCESS [--run ID [--by NAME]] [--json]",
		Description: `Starts the workers of a process that superctl pause stopped, with the live release.

   superctl resume worker`,
		Flags:  append(runFlags(), commandline.JSONFlag()),
		Action: c.onProcess(api.Resume),
	}
}

func (c *command) onProcess(kind api.Kind) cli.ActionFunc {
	return func(cc *cli.Context) error {
		if err := commandline.Arguments(cc, 1, 1); err != nil {
			return err
		}
		req, err := changeRequest(cc, kind)
		if err != nil {
			return err
		}
		req.Process = cc.Args().First()
		return c.change(cc, req)
	}
}

// inPlace reports whether a kind of change affects processes of the live release only.
func inPlace(kind string) bool {
	return slices.Contains([]api.Kind{api.Restart, api.Scale, api.Pause, api.Resume}, api.Kind(kind))
}

// inPlace prints the outcome of a change of the live release's processes.
func (pr printer) inPlace(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	done := map[api.Kind]string{
		api.Restart: "restarted", api.Scale: "scaled", api.Pause: "paused", api.Resume: "resumed",
	}[api.Kind(out.Kind)]
	detail := ""
	if i := slices.IndexFunc(out.Steps, func(s api.Step) bool { return s.Name == out.Kind }); i >= 0 {
		detail = out.Steps[i].Detail
	}
	switch {
	case out.Result != api.Done:
		terminal.Prose(
			pr.Stdout, "%s: the %s %s: %s\n%s", app, out.Kind, p.Red("was refused"), out.Error,
			previousText(out, "is still live, untouched"),
		)
	case !out.Changed:
		terminal.Prose(pr.Stdout, "%s: %s; nothing to do", app, detail)
	case detail == "":
		terminal.Prose(pr.Stdout, "%s: %s in %s", app, p.Green(done), terminal.Seconds(out.Seconds))
	default:
		terminal.Prose(pr.Stdout, "%s: %s %s in %s", app, p.Green(done), detail, terminal.Seconds(out.Seconds))
	}
}
