// Package fleetcommand has the commands for the hosts of an environment: superctl @ENV COMMAND. They
// ask package fleet for the work, and print how it goes. They build on every system that has ssh.
package fleetcommand

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/fleet"
	"superctl/fleet/inventory"
)

// sshVariable is the environment variable with the ssh command, such as ssh -F ./ssh_config.
const sshVariable = "SUPERCTL_SSH"

// Target is the word @NAME or @NAME:HOST,... of a command line.
type Target struct {
	name  string
	hosts []string // hosts or labels; none = the whole fleet
}

// String returns the word, without the hosts.
func (t Target) String() string { return "@" + t.name }

// TargetOf finds the word of a fleet before the command, and returns it with the other words.
func TargetOf(args []string) (target Target, rest []string, found bool) {
	for i := 1; i < len(args); i++ {
		word := args[i]
		switch {
		case strings.HasPrefix(word, "@"):
			name, hosts, some := strings.Cut(word[1:], ":")
			target.name = name
			if some {
				target.hosts = strings.Split(hosts, ",")
			}
			return target, slices.Delete(slices.Clone(args), i, i+1), true
		case word == "--app", word == "--config":
			i++
		case !strings.HasPrefix(word, "-"):
			return target, args, false
		}
	}
	return target, args, false
}

// About describes the commands of a fleet.
const About = `superctl @ENV COMMAND runs a command on all hosts of an environment, over ssh. The hosts are in the
table [fleet.ENV] of superctl.fleet.toml or superctl.toml, here or in a directory above:

   [fleet.production]
   app   = "shop"
   hosts = ["web1", "web2", "web3"]    as ssh knows them

A change goes to all hosts or to none: every host prepares it and reports that it is ready; then the
canary host cuts over and passes its probation, and then all others cut over at once. If a host
refuses before that, no host changes. If a host reverts, all others go back too.

   superctl @production deploy shop-1.2.tar.zst
   superctl @production status
   superctl @production:web2 logs -f      one host
   superctl @production COMMAND --help    show help for a command, with examples`

// Options are the outputs and the clock of the commands.
type Options struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Version        string
}

// App returns the commands of a fleet.
func App(target Target, opt Options) *cli.App {
	f := &command{stdin: opt.Stdin, stdout: opt.Stdout, stderr: opt.Stderr, now: opt.Now, target: target}
	commands := []*cli.Command{
		f.deployCommand(), f.switchCommand(), f.rollbackCommand(), f.reloadCommand(), f.finishCommand(), f.backCommand(),
		f.maintenanceCommand(),
		f.statusCommand(), f.historyCommand(), f.logsCommand(), f.execCommand(), f.lockCommand(),
	}
	for _, one := range commands {
		one.OnUsageError, one.HideHelp = commandline.BadOption, true // commandline.Run shows the help
	}
	app := &cli.App{
		Name: "superctl " + target.String(), Usage: "switch the hosts of an environment together", Description: About,
		UsageText: "superctl @ENV[:HOST,...] COMMAND [ARGUMENTS]",
		Version:   opt.Version, Reader: opt.Stdin, Writer: opt.Stdout, ErrWriter: opt.Stderr, HideHelp: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "app", Usage: "the `NAME` of the app on the hosts, if it is not the one of the fleet"},
			&cli.StringFlag{Name: "config", Usage: "the `FILE` that defines the fleet"},
		},
		Commands:       commands,
		OnUsageError:   commandline.BadOption,
		ExitErrHandler: func(*cli.Context, error) {}, // Main handles errors
	}
	app.Action = func(cc *cli.Context) error {
		if cc.NArg() > 0 {
			return commandline.Usagef("unknown command %q for a fleet; superctl %s --help lists the commands; on one "+
				"host, superctl %s:HOST exec runs any program", cc.Args().First(), target, target)
		}
		Overview(opt.Stdout, app)
		return nil
	}
	return app
}

const (
	aboutOptions = `OPTIONS
   --app NAME       the app on the hosts, if it is not the one of the fleet
   --config FILE    the file that defines the fleet`
	aboutExits = `EXIT CODES
   0    done
   1    refused or failed; no host changed
   2    usage or config error
   3    a host cannot be reached
   4    a host is busy
   5    reverted; all hosts are back
   6    done, but a host is behind; or the hosts run different releases`
)

// Overview writes the help of a fleet.
func Overview(w io.Writer, app *cli.App) {
	commandline.Overview(w, app, []commandline.Group{{Title: "COMMANDS", Commands: app.Commands}}, aboutOptions, aboutExits)
}

// command is a command for a fleet.
type command struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	target         Target

	// by open
	fleet *inventory.Fleet
	hosts []string // that the command is for
	ssh   *fleet.SSH
}

// action returns the action of a command with least to most arguments; most -1 = any number. Its
// context ends with Ctrl-C; another Ctrl-C ends the process.
func (c *command) action(least, most int, f func(context.Context, *cli.Context) error) cli.ActionFunc {
	return func(cc *cli.Context) error {
		if most < 0 {
			most = cc.NArg()
		}
		if err := commandline.Arguments(cc, least, most); err != nil {
			return err
		}
		ctx, stop := commandline.Interruptible()
		defer stop()
		context.AfterFunc(ctx, stop)
		if err := c.open(ctx, cc); err != nil {
			return err
		}
		return f(ctx, cc)
	}
}

// open reads the fleet and selects its hosts.
func (c *command) open(ctx context.Context, cc *cli.Context) error {
	f, err := inventory.Load(ctx, c.target.name, inventory.Options{Path: cc.String("config")})
	if err != nil {
		return &commandline.UsageError{Err: err}
	}
	if app := cc.String("app"); app != "" {
		f.App = app
	}
	c.fleet, c.hosts = f, f.Names()
	if len(c.target.hosts) > 0 {
		if c.hosts, err = f.Select(c.target.hosts); err != nil {
			return &commandline.UsageError{Err: err}
		}
	}
	words, err := shellquote.Split(os.Getenv(sshVariable))
	if err != nil {
		return commandline.Usagef("%s: %w", sshVariable, err)
	}
	c.ssh = &fleet.SSH{Fleet: f}
	if len(words) > 0 {
		c.ssh.Program, c.ssh.Options = words[0], words[1:]
	}
	return nil
}

// without removes the hosts of --without from the hosts of a command, and returns them.
func (c *command) without(cc *cli.Context) ([]string, error) {
	out, err := c.fleet.Select(cc.StringSlice("without"))
	if err != nil {
		return nil, commandline.Usagef("--without: %w", err)
	}
	c.hosts = slices.DeleteFunc(c.hosts, func(h string) bool { return slices.Contains(out, h) })
	if len(c.hosts) == 0 {
		return nil, &commandline.UsageError{Err: errors.New("--without leaves no host")}
	}
	return out, nil
}

// canary returns the host that cuts over first.
func (c *command) canary() string {
	if slices.Contains(c.hosts, c.fleet.Canary) {
		return c.fleet.Canary
	}
	return c.hosts[0]
}

// newRun returns an ID for a run: its time, so that IDs are in order, and something random.
func newRun(now time.Time) string {
	random := make([]byte, 3)
	_, _ = rand.Read(random) // never returns an error
	return now.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(random)
}

// operator returns who runs this command, as the hosts record it.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// App returns the name under which the app is shown: shop@production.
func (c *command) app() string { return c.fleet.App + "@" + c.fleet.Name }
