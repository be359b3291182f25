// Package cli is the command line: one file a command, and what it prints. It starts nothing of its
// own: the daemon is in package daemon, and commands reach one that runs by daemon/control. Exit
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

// usageError is a wrong command line or a wrong config.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// outcomeError is a change that did not succeed and was told already.
type outcomeError struct{ result api.Result }

func (e *outcomeError) Error() string { return string(e.result) }

// Main runs one command and returns its exit code.
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
	app.Reader = stdin
	err := app.Run(reorder(args, app))
	code := exitCode(err)
	var told *outcomeError
	var said *exitError
	if err != nil && !errors.As(err, &told) && !errors.As(err, &said) {
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

// command is what all commands share.
type command struct {
	stdout, stderr io.Writer
	now            func() time.Time
}

const about = `superctl switches a Python site from one release to the next without losing a request.

A daemon holds the listening sockets and runs the workers of the live release. A switch starts
the new release beside it, checks that it answers, turns all new connections over in one
instant, and lets the old workers finish.

   superctl switch 2026-11-23     make a release live
   superctl rollback              go back to the one before
   superctl status                what runs now
   superctl COMMAND --help        more on a command, with examples`

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
		Name: "superctl", Usage: "deploy Python sites without losing a request", Description: about,
		UsageText: "superctl [--app NAME | --config FILE] COMMAND [ARGUMENTS]",
		Version:   daemon.Version(), Writer: c.stdout, ErrWriter: c.stderr, HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "app", Usage: "the app `NAME`: its config is /etc/superctl/NAME.toml (SUPERCTL_APP)"},
			&cli.StringFlag{Name: "config", Usage: "the config `FILE` (SUPERCTL_CONFIG)"},
		},
		Commands: commands,
		Action: func(cc *cli.Context) error {
			if cc.NArg() > 0 {
				return &usageError{unknownCommand(cc.Args().First(), cc)}
			}
			return cli.ShowAppHelp(cc)
		},
		OnUsageError:          func(_ *cli.Context, err error, _ bool) error { return &usageError{err} },
		ExitErrHandler:        func(*cli.Context, error) {}, // Main does that
		CustomAppHelpTemplate: appHelp,
	}
}

const appHelp = `{{.Description}}

COMMANDS
{{range .VisibleCommands}}   {{printf "%-10s" .Name}}  {{.Usage}}
{{end}}
OPTIONS
   --app NAME     which app, when the machine has several ($SUPERCTL_APP)
   --config FILE  another config than /etc/superctl/APP.toml ($SUPERCTL_CONFIG)
   --version

EXIT CODES  0 done  1 refused or failed, the live release is untouched  2 usage or config  3 no daemon
            4 another change is in progress  5 it was live, failed its probation, and the old one is back
`

func unknownCommand(word string, cc *cli.Context) error {
	if text := otherCommand(word, appWord(cc)); text != "" {
		return errors.New(text)
	}
	best, score := "", 0.0
	for _, known := range cc.App.Commands {
		if s := smetrics.JaroWinkler(word, known.Name, 0.7, 4); s > score {
			best, score = known.Name, s
		}
	}
	if score > 0.75 {
		return fmt.Errorf("there is no command %q; did you mean %q?", word, best)
	}
	return fmt.Errorf("there is no command %q; superctl --help lists them", word)
}

// reorder moves options that stand behind the first argument of a command before it, because people
// write them there: superctl switch r42 --json. What stands behind `--` is left alone. --app and
// --config may stand anywhere.
func reorder(args []string, app *cli.App) []string {
	out := []string{args[0]}
	var global, options, words []string
	var cmd *cli.Command
	rest := args[1:]
	for i := 0; i < len(rest); i++ {
		arg := rest[i]
		name, _, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case arg == "--":
			words = append(words, rest[i:]...)
			i = len(rest)
		case cmd != nil && cmd.Name == "exec" && !strings.HasPrefix(arg, "-"):
			words = append(words, rest[i:]...) // options of another program
			i = len(rest)
		case !strings.HasPrefix(arg, "-") || arg == "-":
			if cmd == nil && len(words) == 0 {
				cmd = app.Command(arg)
			}
			words = append(words, arg)
		case name == "config" && !joined && i+1 == len(rest) && cmd != nil && cmd.Name == "scale":
			options = append(options, "--reset") // superctl scale --config: as the config says
		case name == "app" || name == "config":
			global = append(global, arg)
			if !joined && i+1 < len(rest) {
				i++
				global = append(global, rest[i])
			}
		default:
			options = append(options, arg)
			if cmd != nil && !joined && i+1 < len(rest) && takesValue(cmd, name) {
				i++
				options = append(options, rest[i])
			}
		}
	}
	out = append(out, global...)
	if cmd == nil {
		asked, rest := askedInWords(words, app)
		return append(append(append(out, options...), asked...), rest...)
	}
	return append(append(append(out, words[0]), options...), words[1:]...)
}

func takesValue(cmd *cli.Command, name string) bool {
	for _, f := range cmd.Flags {
		if _, isBool := f.(*cli.BoolFlag); !isBool && slices.Contains(f.Names(), name) {
			return true
		}
	}
	return false
}

// configPath finds the config that the command is about.
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

// load reads the config that the command is about.
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

// client makes a client for the app's daemon.
func client(cc *cli.Context) (*control.Client, error) {
	path, err := configPath(cc)
	if err != nil {
		return nil, err
	}
	return control.NewClient(config.Control(path)), nil
}

// askTime is how long a command waits for the daemon's answer where it could do without.
const askTime = 2 * time.Second

// arguments refuses a wrong number of arguments, with how to call the command.
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

// interruptible ends with Ctrl-C.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}
