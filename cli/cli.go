// Package cli is the command line: the commands, one file for each, and their output. The daemon
// itself is in package daemon; commands talk to a running daemon through daemon/control. The exit
// codes are those of DESIGN 9.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"

	"superctl/api"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/releases"
	"superctl/supervisor/worker"
)

// The exit codes (DESIGN 9).
const (
	exitDone        = 0
	exitAborted     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitBusy        = 4
	exitReverted    = 5
)

// usageError is an error in the command line or the config (exit code 2).
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// outcomeError is a change that did not succeed and whose outcome was already printed.
type outcomeError struct{ result api.Result }

func (e *outcomeError) Error() string { return string(e.result) }

// Main runs the command line args and returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 1 && args[1] == worker.ShimArg {
		return worker.Shim(args[2:])
	}
	if len(args) > 1 && args[1] == worker.KeeperArg {
		return worker.Keep(args[2:])
	}
	c := &command{stdout: &screen{stdout}, stderr: &screen{stderr}, now: time.Now}
	if len(args) > 1 {
		switch args[1] {
		case completeArg:
			c.complete(args[2:])
			return exitDone
		case manArg:
			_, _ = stdout.Write(man(c.app()))
			return exitDone
		}
	}
	app := c.app()
	if target, rest, found := fleetOf(args); found {
		app, args = c.fleetApp(target), rest
	}
	app.Reader = stdin
	err := app.Run(reorder(args, app))
	code := exitCode(err)
	var printed *outcomeError
	var exit *exitError
	if err != nil && !errors.As(err, &printed) && !errors.As(err, &exit) {
		fmt.Fprintf(c.stderr, "superctl: %v\n", err)
	}
	return code
}

func exitCode(err error) int {
	var outcome *outcomeError
	var exit *exitError
	var usage *usageError
	var bad *config.Error
	var unusable *daemon.ConfigError
	var unreachable *control.UnreachableError
	var busy *api.BusyError
	var refused *api.RefusedError
	var locked *releases.LockedError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &outcome):
		if outcome.result == api.Reverted {
			return exitReverted
		}
		return exitAborted
	case errors.As(err, &unreachable):
		return exitUnreachable
	case errors.As(err, &busy), errors.As(err, &locked):
		return exitBusy
	case errors.As(err, &refused) &&
		refused.Usage, errors.As(err, &usage), errors.As(err, &bad), errors.As(err, &unusable):
		return exitUsage
	}
	return exitAborted
}

// command has the outputs and the clock that all commands share.
type command struct {
	stdout, stderr io.Writer
	now            func() time.Time
}

// printer prints what a command has found out and done, for people.
type printer struct{ *command }

func (c *command) print() printer { return printer{c} }

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
		c.scaleCommand(), c.pauseCommand(), c.resumeCommand(), c.signalCommand(),
		c.buildCommand(), c.installCommand(), c.verifyCommand(), c.deployCommand(),
		c.statusCommand(), c.releasesCommand(), c.historyCommand(), c.logsCommand(), c.checkCommand(), c.execCommand(),
		c.upgradeCommand(), c.daemonCommand(), c.endCommand(),
		c.pruneCommand(), c.pinCommand(), c.unpinCommand(),
		c.keygenCommand(),
		c.drillCommand(),
	}
	for _, one := range commands {
		one.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
			return &usageError{fmt.Errorf("%s: %w; superctl %s --help lists its options", one.Name, err, one.Name)}
		}
	}
	return &cli.App{
		Name: "superctl", Usage: "switch Python sites between releases without losing a request", Description: about,
		UsageText: "superctl [--app NAME | --config FILE] COMMAND [ARGUMENTS]",
		Version:   daemon.Version(), Writer: c.stdout, ErrWriter: c.stderr, HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "app", Usage: "the app `NAME`; its config is /etc/superctl/NAME.toml ($SUPERCTL_APP)",
			},
			&cli.StringFlag{Name: "config", Usage: "the config `FILE` ($SUPERCTL_CONFIG)"},
		},
		Commands: commands,
		Action: func(cc *cli.Context) error {
			if cc.NArg() > 0 {
				return &usageError{unknownCommand(cc.Args().First(), cc)}
			}
			return cli.ShowAppHelp(cc)
		},
		OnUsageError:          func(_ *cli.Context, err error, _ bool) error { return &usageError{err} },
		ExitErrHandler:        func(*cli.Context, error) {}, // Main handles errors
		CustomAppHelpTemplate: appHelp,
	}
}

const appHelp = `{{.Description}}

COMMANDS
{{range .VisibleCommands}}   {{printf "%-10s" .Name}}  {{.Usage}}
{{end}}
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

// reorder moves the options of a command before its arguments, because the library ends the options
// at the first argument and people write superctl switch r42 --json. It does not touch words after
// `--`. --app and --config are accepted anywhere.
func reorder(args []string, app *cli.App) []string {
	l := commandLine{app: app}
	for rest := args[1:]; len(rest) > 0; {
		rest = rest[l.take(rest):]
	}
	out := append([]string{args[0]}, l.global...)
	if l.cmd == nil {
		options, rest := helpWords(l.words, app)
		return slices.Concat(out, l.options, options, rest)
	}
	return slices.Concat(out, l.words[:1], l.options, l.words[1:])
}

// commandLine is a command line whose words are sorted by kind.
type commandLine struct {
	app                    *cli.App
	cmd                    *cli.Command // nil if no command is given yet
	global, options, words []string
}

// take sorts the first word of rest, with the value of an option, and returns the number of words
// that it took.
func (l *commandLine) take(rest []string) int {
	arg := rest[0]
	name, _, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	isOption := strings.HasPrefix(arg, "-") && arg != "-"
	switch {
	case arg == "--", l.cmd != nil && l.cmd.Name == "exec" && !strings.HasPrefix(arg, "-"):
		l.words = append(l.words, rest...) // may be options of another program
		return len(rest)
	case !isOption:
		if l.cmd == nil && len(l.words) == 0 {
			l.cmd = l.app.Command(arg)
		}
		l.words = append(l.words, arg)
		return 1
	case name == "config" && !joined && len(rest) == 1 && l.cmd != nil && l.cmd.Name == "scale":
		l.options = append(l.options, "--reset") // superctl scale --config means scale --reset
		return 1
	}
	list, isGlobal, n := &l.options, name == "app" || name == "config", 1
	if isGlobal {
		list = &l.global
	}
	if !joined && len(rest) > 1 && (isGlobal || l.cmd != nil && takesValue(l.cmd, name)) {
		n = 2
	}
	*list = append(*list, rest[:n]...)
	return n
}

func takesValue(cmd *cli.Command, name string) bool {
	for _, f := range cmd.Flags {
		_, isBool := f.(*cli.BoolFlag)
		_, isOptional := f.(optionalFlag)
		if !isBool && !isOptional && slices.Contains(f.Names(), name) {
			return true
		}
	}
	return false
}

// configPath returns the path of the app's config.
func configPath(cc *cli.Context) (string, error) {
	path, err := config.Find(cc.String("config"), cc.String("app"), os.Getenv)
	if err == nil {
		err = config.CheckName(path)
	}
	if err != nil {
		return "", &usageError{err}
	}
	return path, nil
}

// load reads the app's config.
func load(cc *cli.Context) (*config.Config, error) {
	path, err := configPath(cc)
	if err != nil {
		return nil, err
	}
	c, err := config.Load(path)
	if err != nil {
		return nil, &usageError{err}
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

// arguments refuses a wrong number of arguments and shows the usage of the command.
func arguments(cc *cli.Context, least, most int) error {
	switch n := cc.NArg(); {
	case n < least:
		return missing(cc)
	case n > most:
		return &usageError{fmt.Errorf(
			"%s: unexpected argument %q: %s", cc.Command.Name, cc.Args().Get(most), cc.Command.UsageText,
		)}
	}
	return nil
}

func missing(cc *cli.Context) error {
	return &usageError{fmt.Errorf(
		"%s: missing argument %s: %s", cc.Command.Name, missingArgument(cc.Command, cc.NArg()), cc.Command.UsageText,
	)}
}

// interruptible returns a context that is canceled by Ctrl-C and SIGTERM.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}
