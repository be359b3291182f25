package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/supervisor"
	"superctl/supervisor/worker"
)

// checkTime is how long the new program may take to say that it could take over.
const checkTime = 10 * time.Second

func (c *command) upgradeCommand() *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "replace the daemon by the superctl that is installed now; the site does not notice",
		UsageText: "superctl upgrade",
		Description: `Install the new superctl over the old one, then run this. The new daemon takes over the listeners
and the workers as they are; if it cannot, the old one goes on.

   superctl upgrade`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.change(cc, api.Request{Kind: api.Upgrade})
		},
	}
}

// checkNew asks the program that is installed now whether it could take over: it reads the config and the state as a daemon
// would.
func (d *daemon) checkNew(path string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, checkTime, fmt.Errorf("%s did not answer within %s", os.Args[0], checkTime))
		defer cancel()
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		var lines []string
		err = worker.Run(ctx, worker.Command{Args: []string{os.Args[0], "--config", path, "daemon", "--dry-run"}, Env: os.Environ(), Dir: dir},
			func(line string) { lines = append(lines, line) })
		text := strings.Join(lines, "\n")
		if err != nil {
			return "", errors.Join(fmt.Errorf("%s cannot take over: %w", os.Args[0], err), errors.New(text))
		}
		return text, nil
	}
}

// dryRun is what checkNew runs in the new program.
func (c *command) dryRun(path string) error {
	conf, broken := loadOrKept(path)
	if conf == nil {
		return broken
	}
	if err := supervisor.New(supervisor.Options{App: conf.App, State: conf.State}).CheckState(); err != nil {
		return err
	}
	fmt.Fprintln(c.stdout, version())
	return nil
}

// handOver starts the new daemon with all that it needs.
func (d *daemon) handOver(all []supervisor.Descriptor) error {
	fds := d.kept.unitSockets()
	all = append(all, d.lock.descriptors()...)
	err := worker.WithoutReaping(func() error {
		return hold(all, fds, func() error { return d.renewal.HandOver(fds) })
	})
	if err == nil {
		d.api.Keep() // before anybody hears of the upgrade: who asks then is to be answered by the new daemon
	}
	return err
}

// hold calls do while all descriptors are held open, and are in fds by their names.
func hold(all []supervisor.Descriptor, fds map[string]int, do func() error) error {
	if len(all) == 0 {
		return do()
	}
	return all[0].Use(func(fd int) error {
		fds[all[0].Name] = fd
		return hold(all[1:], fds, do)
	})
}
