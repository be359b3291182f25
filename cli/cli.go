//go:build linux

// Package cli is the command line: the list of all commands, their exit codes, and the commands that
// change what is live. The daemon itself is in package daemon; commands talk to a running daemon
// through daemon/control.
//
// The other commands are in packages below, by what they are for: lookcommand, releasecommand,
// checkcommand, drillcommand, movecommand, and fleetcommand for several hosts. Those on one host print
// through console and find their app through app. All share what commandline knows of words, flags and
// exit codes, and print for people through terminal.
package cli

import (
	"errors"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/fleetcommand"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/fleet"
	"superctl/maintenance"
	"superctl/releases"
	"superctl/supervisor/worker"
	"superctl/takeover/oldserver"
	"superctl/version"
)

// Main runs the command line args and returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{&console.Console{Stdout: terminal.NewScreen(stdout), Stderr: terminal.NewScreen(stderr), Now: time.Now}}
	if len(args) > 1 {
		if code, hidden := c.hidden(args[1], args[2:], stdin, stdout, stderr); hidden {
			return code
		}
	}
	app, overview := c.app(), c.overview
	if target, rest, found := fleetcommand.TargetOf(args); found {
		app, args = fleetcommand.App(target, fleetcommand.Options{
			Stdin: stdin, Stdout: c.Stdout, Stderr: c.Stderr, Now: c.Now, Version: version.String(),
		}), rest
		overview = func(w io.Writer) { fleetcommand.Overview(w, app) }
	}
	app.Reader = stdin
	asJSON, err := commandline.Run(app, args, overview)
	err = unwritten(err, terminal.WriteError(c.Stdout))
	code := exitCode(err)
	var printed *console.OutcomeError
	var exit *commandline.ExitError
	if err != nil && !errors.As(err, &printed) && !errors.As(err, &exit) {
		commandline.Explain(c.Stdout, c.Stderr, hinted(err), code, asJSON)
	}
	return code
}

// unwritten returns the error of a command of whose output a part could not be written, because of
// failed, unless the command has failed for another reason.
func unwritten(err, failed error) error {
	var concluded *console.UnwrittenError
	if failed == nil || errors.As(err, &concluded) || err != nil && !errors.Is(err, failed) {
		return err
	}
	return &console.UnwrittenError{Err: failed}
}

// hidden runs the hidden command of a word: a program that superctl starts from its own file, or a text
// for the shell and the documents. It reports whether there is one.
func (c *command) hidden(
	word string, args []string, stdin io.Reader, stdout, stderr io.Writer,
) (code int, hidden bool) {
	switch word {
	case worker.KeeperArg:
		return worker.Keep(args), true
	case oldserver.Arg:
		return oldserver.Main(stdin, stdout), true
	case maintenance.Arg:
		return maintenance.Main(args, stderr), true
	case completeArg:
		c.complete(args)
	case manArg:
		_, _ = stdout.Write(man(c.app()))
	case referenceArg:
		_, _ = io.WriteString(stdout, reference(c.app()))
	default:
		return 0, false
	}
	return api.ExitDone, true
}

func exitCode(err error) int {
	var outcome *console.OutcomeError
	var exit *commandline.ExitError
	var usage *commandline.UsageError
	var bad *config.Error
	var unusable *daemon.ConfigError
	var unreachable *control.UnreachableError
	var lost *fleet.LostError
	var busy *api.BusyError
	var refused *api.RefusedError
	var locked *releases.LockedError
	switch {
	case err == nil:
		return api.ExitDone
	case errors.As(err, &exit):
		return exit.Code
	case errors.As(err, &outcome):
		return outcome.Result.Exit()
	case errors.As(err, &unreachable), errors.As(err, &lost):
		return api.ExitUnreachable
	case errors.As(err, &busy), errors.As(err, &locked):
		return api.ExitBusy
	case errors.As(err, &refused) &&
		refused.Usage, errors.As(err, &usage), errors.As(err, &bad), errors.As(err, &unusable):
		return api.ExitUsage
	}
	return api.ExitAborted
}

func (c *command) app() *cli.App {
	commands := commandline.Commands(c.groups())
	for _, one := range commands {
		one.OnUsageError, one.HideHelp = commandline.BadOption, true // commandline.Run shows the help
	}
	return &cli.App{
		Name: "superctl", Usage: "switch Python sites between releases without losing a request", Description: about,
		UsageText: "superctl [--app NAME | --config FILE] COMMAND [ARGUMENTS]",
		Version:   version.String(), Writer: c.Stdout, ErrWriter: c.Stderr, HideHelp: true,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "app", Usage: "the app `NAME`; its config is /etc/superctl/NAME.toml ($SUPERCTL_APP)",
			},
			&cli.StringFlag{Name: "config", Usage: "the config `FILE` ($SUPERCTL_CONFIG)"},
		},
		Commands: commands,
		Action: func(cc *cli.Context) error {
			if cc.NArg() > 0 {
				return &commandline.UsageError{Err: unknownCommand(cc.Args().First(), cc)}
			}
			c.overview(c.Stdout)
			return nil
		},
		OnUsageError:   commandline.BadOption,
		ExitErrHandler: func(*cli.Context, error) {}, // Main handles errors
	}
}
