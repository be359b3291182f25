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

// checkTime limits how long the new program may take to report whether it can take over.
const checkTime = 10 * time.Second

// checkNew returns a function that runs `daemon --dry-run` of the installed program, to find out
// whether it can take over. The function returns the version of the program.
func (d *daemon) checkNew(path string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeoutCause(
			ctx, checkTime, fmt.Errorf("%s did not answer within %s", os.Args[0], checkTime),
		)
		defer cancel()
		dir, err := d.upgrader.Directory()
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

// DryRun returns an error if a daemon could not start with the config at path and the current
// state. It starts nothing. An upgrade runs it in the new program.
func DryRun(path string) error {
	conf, broken := loadOrKept(path)
	if conf == nil {
		return broken
	}
	return supervisor.New(supervisor.Options{App: conf.App, State: conf.State}).CheckState()
}

// handOver starts the new daemon and passes all descriptors to it.
func (d *daemon) handOver(all []supervisor.Descriptor) error {
	fds := d.kept.unitSockets()
	all = append(all, d.lock.descriptors()...)
	err := worker.WithoutReaping(func() error {
		return hold(all, fds, func() error { return d.upgrader.HandOver(fds) })
	})
	if err == nil {
		d.api.LeaveToNext() // before the upgrade is reported: the new daemon must answer the next request
	}
	return err
}

// hold calls do while all descriptors are held open and in fds under their names. Those of a worker
// that has just ended are closed, and left out.
func hold(all []supervisor.Descriptor, fds map[string]int, do func() error) error {
	if len(all) == 0 {
		return do()
	}
	held := false
	err := all[0].Use(func(fd int) error {
		held = true
		fds[all[0].Name] = fd
		return hold(all[1:], fds, do)
	})
	if !held && errors.Is(err, os.ErrClosed) {
		return hold(all[1:], fds, do)
	}
	return err
}
