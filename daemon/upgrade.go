package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"superctl/supervisor"
	"superctl/supervisor/worker"
)

// checkTime is how long the new program may take to say that it could take over.
const checkTime = 10 * time.Second

// checkNew asks the program that is installed now whether it could take over: it reads the config
// and the state as a daemon would.
func (d *daemon) checkNew(path string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeoutCause(
			ctx, checkTime, fmt.Errorf("%s did not answer within %s", os.Args[0], checkTime),
		)
		defer cancel()
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		var lines []string
		err = worker.Run(ctx, worker.Command{
			Args: []string{os.Args[0], "--config", path, "daemon", "--dry-run"}, Env: os.Environ(), Dir: dir,
		},
			func(line string) { lines = append(lines, line) })
		text := strings.Join(lines, "\n")
		if err != nil {
			return "", errors.Join(fmt.Errorf("%s cannot take over: %w", os.Args[0], err), errors.New(text))
		}
		return text, nil
	}
}

// DryRun reports whether a daemon could start with this config and the state that is there; it
// starts nothing. checkNew runs it in the new program of an upgrade.
func DryRun(path string) error {
	conf, broken := loadOrKept(path)
	if conf == nil {
		return broken
	}
	return supervisor.New(supervisor.Options{App: conf.App, State: conf.State}).CheckState()
}

// handOver starts the new daemon with all that it needs.
func (d *daemon) handOver(all []supervisor.Descriptor) error {
	fds := d.kept.unitSockets()
	all = append(all, d.lock.descriptors()...)
	err := worker.WithoutReaping(func() error {
		return hold(all, fds, func() error { return d.renewal.HandOver(fds) })
	})
	if err == nil {
		d.api.LeaveToNext() // before anybody hears of the upgrade: who asks then is to be answered by the new daemon
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
