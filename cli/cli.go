//go:build linux

// Package cli is the command line: the commands, one file for each, and their output. The daemon
// itself is in package daemon; commands talk to a running daemon through daemon/control. The
// commands for several hosts are in fleetcommand. All commands print through terminal, and share
// what commandline knows about their words, flags and exit codes.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/fleetcommand"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/releases"
	"superctl/supervisor/worker"
	"superctl/takeover/oldserver"
	"superctl/version"
)

// Main runs the command line args and returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 1 && args[1] == worker.ShimArg {
		return worker.Shim(args[2:])
	}
	if len(args) > 1 && args[1] == worker.KeeperArg {
		return worker.Keep(args[2:])
	}
	if len(args) > 1 && args[1] == oldserver.Arg {
		return oldserver.Main(stdin, stdout)
	}
	c := &command{stdout: terminal.NewScreen(stdout), stderr: terminal.NewScreen(stderr), now: time.Now}
	if len(args) > 1 {
		switch args[1] {
		case completeArg:
			c.complete(args[2:])
			return api.ExitDone
		case manArg:
			_, _ = stdout.Write(man(c.app()))
			return api.ExitDone
		case referenceArg:
			_, _ = io.WriteString(stdout, reference(c.app()))
			return api.ExitDone
		}
	}
	app := c.app()
	if target, rest, found := fleetcommand.TargetOf(args); found {
		app, args = fleetcommand.App(target, fleetcommand.Options{
			Stdin: stdin, Stdout: c.stdout, Stderr: c.stderr, Now: c.now, Version: version.String(),
		}), rest
	}
	app.Reader = stdin
	err := app.Run(commandline.Reorder(args, app))
	code := exitCode(err)
	var printed *outcomeError
	var exit *commandline.ExitError
	if err != nil && !errors.As(err, &printed) && !errors.As(err, &exit) {
		terminal.Prose(c.stderr, "superctl: %v", err)
	}
	return code
}

func exitCode(err error) int {
	var outcome *outcomeError
	var exit *commandline.ExitError
	var usage *commandline.UsageError
	var bad *config.Error
	var unusable *daemon.ConfigError
	var unreachable *control.UnreachableError
	var busy *api.BusyError
	var refused *api.RefusedError
	var locked *releases.LockedError
	switch {
	case err == nil:
		return api.ExitDone
	case errors.As(err, &exit):
		return exit.Code
	case errors.As(err, &outcome):
		return outcome.result.Exit()
	case errors.As(err, &unreachable):
		return api.ExitUnreachable
	case errors.As(err, &busy), errors.As(err, &locked):
		return api.ExitBusy
	case errors.As(err, &refused) &&
		refused.Usage, errors.As(err, &usage), errors.As(err, &bad), errors.As(err, &unusable):
		return api.ExitUsage
	}
	return api.ExitAborted
}

const about = `superctl switches a Python site from one release to the next without losing a request.

A daemon holds the listening sockets and runs the workers of the live release. A switch starts
the workers of the new release, checks that they answer, sends all new connections to them in
one instant, and lets the old workers finish.

   superctl switch 2026-11-23     make a release live
   superctl rollback              go back to the previous release
   superctl status                show what runs now
   superctl @production deploy    run a command on all hosts of an environment: superctl @production --help
   superctl COMMAND --help        show help for a command, with examples`

func (c *command) app() *cli.App {
	commands := []*cli.Command{
		c.switchCommand(), c.rollbackCommand(), c.reloadCommand(), c.restartCommand(),
		c.lockCommand(), c.notifyCommand(), c.scaleCommand(), c.pauseCommand(), c.resumeCommand(), c.signalCommand(),
		c.buildCommand(), c.installCommand(), c.verifyCommand(), c.deployCommand(),
		c.statusCommand(), c.releasesCommand(), c.historyCommand(), c.logsCommand(), c.checkCommand(), c.execCommand(),
		c.upgradeCommand(), c.daemonCommand(), c.endCommand(),
		c.pruneCommand(), c.pinCommand(), c.unpinCommand(),
		c.keygenCommand(), c.initCommand(), c.takeoverCommand(),
		c.drillCommand(),
	}
	for _, one := range commands {
		one.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
			return commandline.Usagef("%s: %w; superctl %s --help lists its options", one.Name, err, one.Name)
		}
	}
	return &cli.App{
		Name: "superctl", Usage: "switch Python sites between releases without losing a request", Description: about,
		UsageText: "superctl [--app NAME | --config FILE] COMMAND [ARGUMENTS]",
		Version:   version.String(), Writer: c.stdout, ErrWriter: c.stderr, HideHelpCommand: true,
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
			return cli.ShowAppHelp(cc)
		},
		OnUsageError:          func(_ *cli.Context, err error, _ bool) error { return &commandline.UsageError{Err: err} },
		ExitErrHandler:        func(*cli.Context, error) {}, // Main handles errors
		CustomAppHelpTemplate: appHelp,
	}
}

const appHelp = `{{.Description}}

COMMANDS
{{range .VisibleCommands}}   {{printf "%-10s" .Name}}  {{.Usage}}
{{end}}
SEVERAL HOSTS
   @ENV COMMAND   deploy, switch, rollback, status, logs, ... on all hosts of an environment: superctl @ENV --help

OPTIONS
   --app NAME     the app, if the machine has several ($SUPERCTL_APP)
   --config FILE  the config file, if it is not /etc/superctl/APP.toml ($SUPERCTL_CONFIG)
   --version      print the version

EXIT CODES  0 done  1 refused or failed, the live release did not change  2 usage or config error
            3 the daemon cannot be reached  4 another change is in progress
            5 the release failed its probation, the previous release is live again
`

func unknownCommand(word string, cc *cli.Context) error {
	if text := commandHint(word, exampleApp(cc)); text != "" {
		return errors.New(text)
	}
	best, score := "", 0.0
	for _, known := range cc.App.Commands {
		if s := smetrics.JaroWinkler(word, known.Name, 0.7, 4); s > score {
			best, score = known.Name, s
		}
	}
	if score > 0.75 {
		return fmt.Errorf("unknown command %q; did you mean %q?", word, best)
	}
	return fmt.Errorf("unknown command %q; superctl --help lists the commands", word)
}

// configPath returns the path of the app's config.
func configPath(cc *cli.Context) (string, error) {
	path, err := config.Find(cc.String("config"), cc.String("app"), os.Getenv)
	if err == nil {
		err = config.CheckName(path)
	}
	if err != nil {
		return "", &commandline.UsageError{Err: err}
	}
	return path, nil
}

// load reads the app's config.
func load(cc *cli.Context) (*config.Config, error) {
	path, err := configPath(cc)
	if err != nil {
		return nil, err
	}
	c, err := config.LoadForClient(path)
	if err != nil {
		return nil, &commandline.UsageError{Err: err}
	}
	return c, nil
}

// client returns a client for the app's daemon.
func client(cc *cli.Context) (*control.Client, error) {
	path, err := configPath(cc)
	if err != nil {
		return nil, err
	}
	return control.NewClient(config.Control(path)), nil
}

// askTime is how long a command waits for the daemon's answer if it can continue without it.
const askTime = 2 * time.Second
