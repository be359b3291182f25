//go:build linux

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/config"
)

// hinted returns an error with the next step of a user who names the app as systemctl has it:
// superctl status shop.
func hinted(err error) error {
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
