package daemon

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"superctl/daemon/control"
	"superctl/daemon/systemd"
	"superctl/supervisor"
	"superctl/supervisor/cgroup"
	"superctl/version"
)

// When a daemon has ended, systemd runs `superctl end` (ExecStopPost=). The command pauses before
// systemd starts the next daemon, so that it notices a `systemctl stop` in the meantime. A pause by
// RestartSec= would come after the command, and a stop during it would leave the workers running.
const (
	crashPause  = 100 * time.Millisecond // after a daemon that was killed or crashed
	refusePause = 2 * time.Second        // after a daemon that refused to start
)

// End stops the workers orphaned by a dead daemon. It does nothing if systemd is about to start the
// next daemon, which adopts them. The workers may finish their requests until ctx ends.
func End(ctx context.Context, path string, stderr io.Writer) error {
	result := os.Getenv("SERVICE_RESULT")
	if result == "" { // not run by systemd
		return endAll(ctx, path, stderr)
	}
	// A stop after the last question about systemd's intent would not be noticed, so all that takes
	// time comes before it.
	subgroup := usesSubgroup(ctx)
	if !daemonFollows(ctx, result) {
		return endAll(ctx, path, stderr)
	}
	if subgroup {
		return nil
	}
	return releaseGroup()
}

// daemonFollows reports, after the end of a daemon under systemd with that result, whether systemd is
// about to start another one.
func daemonFollows(ctx context.Context, result string) bool {
	// If systemd does not answer, assume that a daemon follows: after a crash one does, and after a
	// stop systemd itself ends all processes of the unit.
	ask := func() bool { return systemd.AwaitIntent(ctx) != systemd.Stop }
	if !ask() {
		return false
	}
	pause := crashPause
	switch result {
	case "success":
		return true
	case "exit-code":
		pause = refusePause
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	return ask()
}

// usesSubgroup reports whether systemd starts the next daemon in a control group of its own.
func usesSubgroup(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return systemd.UsesDelegateSubgroup(ctx)
}

// releaseGroup lets systemd start the next daemon in the control group that contains the workers'
// groups: the kernel allows no process there while its controllers are enabled.
func releaseGroup() error {
	tree, err := cgroup.Find()
	if errors.Is(err, cgroup.ErrNotDelegated) {
		return nil
	}
	return errors.Join(err, tree.DisableControllers())
}

// endAll adopts all workers like a daemon, and stops them.
func endAll(ctx context.Context, path string, stderr io.Writer) error {
	conf, broken := loadOrKept(path)
	if conf == nil {
		return broken
	}
	lock, err := lockApp(conf)
	if err != nil {
		return err
	}
	defer lock.Close()
	out, err := openLogs(conf.App, conf.Log, stderr)
	if err != nil {
		return err
	}
	defer out.Close()
	gates, err := remainingGates(conf)
	if err != nil {
		return err
	}
	if err := control.Remove(conf.Control); err != nil { // no daemon serves on it, because we hold the lock
		return err
	}
	groups, err := cgroup.Find()
	if err != nil && !errors.Is(err, cgroup.ErrNotDelegated) {
		return err
	}
	err = stopAll(ctx, supervisor.New(supervisor.Options{
		Cgroups: groups,
		App:     conf.App, Version: version.String(), State: conf.State, Notify: notifyPath(conf), Gates: gates,
		Hook: hookDir(conf), Scratch: scratchDir(conf), Values: supervisor.Values{Dir: valuesDir(conf)},
		Sink: out.sink(), Log: out.logger(), End: true,
	}))
	return errors.Join(err, copiesOf(conf).Remove(), removeSecrets(conf))
}

// stopAll runs a supervisor that stops the workers. It kills them when ctx ends.
func stopAll(ctx context.Context, s *supervisor.Supervisor) error {
	ended := start(context.Background(), s.Run)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		s.KillAll()
		return <-ended
	}
}
