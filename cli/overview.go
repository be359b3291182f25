//go:build linux

package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/checkcommand"
	"superctl/cli/commandline"
	"superctl/cli/drillcommand"
	"superctl/cli/fleetcommand"
	"superctl/cli/lookcommand"
	"superctl/cli/movecommand"
	"superctl/cli/releasecommand"
	"superctl/version"
)

const about = `superctl switches a Python site from one release to the next without losing a request.

A daemon holds the listening sockets and runs the workers of the live release. A switch starts
the workers of the new release, checks that they answer, sends all new connections to them in
one instant, and lets the old workers finish.

   superctl switch 2026-11-23     make a release live
   superctl rollback              go back to the previous release
   superctl status                show what runs now
   superctl help COMMAND          show help for a command, with examples`

const (
	aboutFleets = `SEVERAL HOSTS
   @ENV COMMAND    deploy, switch, rollback, status, logs, ... on all hosts of an environment: superctl help @ENV`
	aboutOptions = `OPTIONS
   --app NAME       the app, if the machine has several ($SUPERCTL_APP)
   --config FILE    the config file, if it is not /etc/superctl/APP.toml ($SUPERCTL_CONFIG)
   --version        print the version`
)

// groups returns all commands, as the help shows them.
func (c *command) groups() []commandline.Group {
	return []commandline.Group{
		{Title: "WHAT IS LIVE", Commands: []*cli.Command{
			switchCommand(c), rollbackCommand(c), deployCommand(c), reloadCommand(c), attachCommand(c), cancelCommand(c),
			restartCommand(c), scaleCommand(c), pauseCommand(c), resumeCommand(c), maintenanceCommand(c), signalCommand(c), cronCommand(c),
		}},
		{Title: "LOOK AND CHECK", Commands: []*cli.Command{
			lookcommand.Status(c.Console), lookcommand.List(c.Console), lookcommand.Top(c.Console), lookcommand.Web(c.Console), lookcommand.Metrics(c.Console), releasecommand.Releases(c.Console), lookcommand.History(c.Console),
			lookcommand.Logs(c.Console), checkcommand.Check(c.Console),
			execCommand(c), drillcommand.Drill(c.Console),
		}},
		{Title: "RELEASES", Commands: []*cli.Command{
			releasecommand.Build(c.Console), releasecommand.Install(c.Console), releasecommand.Verify(c.Console), releasecommand.Prune(c.Console), releasecommand.Pin(c.Console),
			releasecommand.Unpin(c.Console), releasecommand.Keygen(c.Console),
		}},
		{Title: "THIS MACHINE", Commands: []*cli.Command{
			movecommand.Init(c.Console), movecommand.Takeover(c.Console), movecommand.Eject(c.Console), daemonCommand(c), upgradeCommand(c), endCommand(c),
		}},
		{Title: "FOR DEPLOY TOOLS AND CI", Commands: []*cli.Command{
			lockCommand(c), notifyCommand(c), ciShellCommand(c),
		}},
		{Title: "HELP", Commands: []*cli.Command{helpCommand(c), versionCommand(c)}},
	}
}

// exits returns the section of the exit codes.
func exits() string {
	text := "EXIT CODES"
	for _, e := range api.ExitCodes() {
		text += fmt.Sprintf("\n   %d    %s", e.Code, e.Meaning)
	}
	return text
}

// overview writes the help of superctl.
func (c *command) overview(w io.Writer) {
	app := c.app()
	commandline.Overview(w, app, c.groups(), aboutFleets, aboutOptions, exits())
}

func helpCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "show help for a command, with examples",
		UsageText: "superctl help [COMMAND | @ENV [COMMAND]]",
		Description: `Without COMMAND it lists the commands. superctl COMMAND --help does the same.

   superctl help switch
   superctl help @production           the commands for several hosts
   superctl help @production deploy`,
		Action: c.help,
	}
}

func (c *command) help(cc *cli.Context) error {
	words := cc.Args().Slice()
	app, overview := cc.App, c.overview
	if len(words) > 0 && strings.HasPrefix(words[0], "@") {
		target, _, _ := fleetcommand.TargetOf([]string{cc.App.Name, words[0]})
		app, words = fleetcommand.App(target, fleetcommand.Options{Stdout: c.Stdout}), words[1:]
		overview = func(w io.Writer) { fleetcommand.Overview(w, app) }
	}
	switch len(words) {
	case 0:
		overview(c.Stdout)
		return nil
	case 1:
	default:
		return commandline.Usagef("help: unexpected argument %q: %s", words[1], cc.Command.UsageText)
	}
	cmd := app.Command(words[0])
	if cmd == nil {
		return &commandline.UsageError{Err: unknownCommand(words[0], cc)}
	}
	commandline.Help(c.Stdout, app.Name, cmd)
	return nil
}

// versionView is the output of `version --json`.
type versionView struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version of superctl", UsageText: "superctl version [--json]",
		Description: `Prints the version of this program. superctl status shows the version of the running daemon.

   superctl version --json    with the version of Go and the platform that it is built for`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			if cc.Bool("json") {
				return c.JSON(versionView{version.String(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
			}
			fmt.Fprintf(c.Stdout, "superctl version %s\n", version.String())
			return nil
		},
	}
}

func unknownCommand(word string, cc *cli.Context) error {
	if text := commandHint(word, app.ExampleName(cc)); text != "" {
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
