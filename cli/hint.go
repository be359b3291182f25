//go:build linux

package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/config"
)

// hinted returns an error with the next step: of a command that can open no more files or
// is in a directory that was removed, of one that another change keeps from its own, and of a user who names the app as systemctl has it (superctl status shop).
func hinted(err error) error {
	if errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("%w: raise the limit of open files (LimitNOFILE= of the unit, or ulimit -n)", err)
	}
	if call := new(os.SyscallError); errors.As(err, &call) && call.Syscall == "getwd" {
		return fmt.Errorf("%w: the current directory does not exist any more: change to one that does, or write whole paths", err)
	}
	if busy := new(api.BusyError); errors.As(err, &busy) && busy.Lock == nil {
		return fmt.Errorf("%w; superctl attach follows it, and then this command can be run again", err)
	}
	var unexpected *commandline.UnexpectedError
	if !errors.As(err, &unexpected) {
		return err
	}
	app := strings.TrimSuffix(strings.TrimPrefix(unexpected.Word, "superctl@"), ".service")
	if !slices.Contains(config.Apps(), app) && app == unexpected.Word {
		return err
	}
	return fmt.Errorf(
		"%s: unexpected argument %q: for the app %s, run superctl --app %s %s", unexpected.Command, unexpected.Word, app, app,
		unexpected.Command,
	)
}

// restartHint returns the error for superctl restart without a process, or with the app or its unit
// in place of one.
func restartHint(cc *cli.Context) error {
	app, word := app.ExampleName(cc), cc.Args().First()
	const next = "superctl reload restarts all workers without losing a request; " +
		"systemctl restart superctl@%s restarts the daemon and keeps the workers"
	switch {
	case cc.NArg() == 0:
		return commandline.Usagef("restart: missing argument PROCESS: superctl restart PROCESS restarts one process; "+next, app)
	case strings.HasPrefix(word, "superctl"), word == app && !isProcess(cc, word):
		return commandline.Usagef("restart: %s is the app, not a process: "+next, word, app)
	}
	return nil
}

// isProcess reports whether the config has a process of that name.
func isProcess(cc *cli.Context, name string) bool {
	conf, err := app.Load(cc)
	return err == nil && slices.ContainsFunc(conf.Processes, func(p config.Process) bool { return p.Name == name })
}

// commandHint returns a hint for a word that is a command of other tools, or "".
func commandHint(word, app string) string {
	switch word {
	case "start", "stop", "enable", "disable", "mask", "unmask", "edit", "cat", "is-active", "is-enabled", "is-failed",
		"try-restart", "kill", "show":
		return fmt.Sprintf("%q is a command of systemd: systemctl %s superctl@%s", word, word, app)
	case "daemon-reload", "daemon-reexec":
		return fmt.Sprintf("%q is a command of systemd: systemctl %s", word, word)
	}
	for _, foreign := range foreignCommands() {
		if slices.Contains(foreign.words, word) {
			return fmt.Sprintf("unknown command %q: %s", word, strings.ReplaceAll(foreign.here, "APP", app))
		}
	}
	return ""
}

// foreignCommand is what other tools call a command of superctl.
type foreignCommand struct {
	words []string
	here  string // what does the same; APP is the app
}

func foreignCommands() []foreignCommand {
	return []foreignCommand{
		{
			[]string{"reload-or-restart", "try-reload-or-restart", "force-reload", "hup"},
			"superctl reload applies the config, without losing a request",
		},
		{[]string{"top", "ps", "list-units"}, "superctl status --watch shows what runs"},
		{[]string{"reread", "update"}, "superctl reload applies the config; superctl upgrade replaces the daemon"},
		{
			[]string{"journal", "journalctl", "log", "tail"},
			"superctl logs shows the newest output of the workers, journalctl -u superctl@APP all of it",
		},
		{[]string{"promote", "activate", "release", "use"}, "superctl switch RELEASE makes a release live"},
		{[]string{"abort"}, "superctl cancel cancels the change in progress"},
		{[]string{"follow", "wait", "watch"}, "superctl attach follows the change in progress"},
		{[]string{"revert", "undo"}, "superctl rollback goes back to the previous release"},
		{[]string{"list", "ls"}, "superctl releases lists the releases, superctl status shows what runs"},
		{[]string{"run", "shell", "console"}, "superctl exec COMMAND runs a command in the live release"},
		{
			[]string{"validate", "test", "configtest", "verify-config", "doctor"},
			"superctl check checks the config, the releases and the sockets",
		},
	}
}
