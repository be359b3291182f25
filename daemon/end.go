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
)

// After the end of the daemon systemd runs `superctl end` (ExecStopPost=), which takes this long
// before it lets systemd start the next one: a pause in which a `systemctl stop` is noticed. With
// RestartSec= it would not be, and the workers would be left over.
const (
	crashPause  = 100 * time.Millisecond // the daemon was killed, or crashed
	refusePause = 2 * time.Second        // it would not start, and will not in the next moment
)

// End stops the workers that a daemon which died has left running; it does nothing when systemd is
// about to start the next daemon, which adopts them. They may finish what they have until ctx ends.
func End(ctx context.Context, path string, stderr io.Writer) error {
	if goesOn(ctx) {
		return releaseGroup(ctx)
	}
	return endAll(ctx, path, stderr)
}

// goesOn tells, behind the end of a daemon under systemd, whether another one is going to be
// started.
func goesOn(ctx context.Context) bool {
	result := os.Getenv("SERVICE_RESULT")
	if result == "" {
		return false // a person has typed it
	}
	// In doubt the workers go on: after a crash it is what will happen, and after a stop systemd
	// ends what is left of the unit.
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

// releaseGroup lets systemd start the next daemon in the group in which the workers' groups are.
func releaseGroup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if systemd.UsesDelegateSubgroup(ctx) {
		return nil
	}
	tree, err := cgroup.Find()
	if errors.Is(err, cgroup.ErrNotDelegated) {
		return nil
	}
	return errors.Join(err, tree.DisableControllers())
}

// endAll adopts everything, as a daemon would, and ends it.
func endAll(ctx context.Context, path string, stderr io.Writer) error {
	conf, broken := loadOrKept(path)
	if conf == nil {
		return broken
	}
	lock, err := lockState(conf.State)
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
	if err := control.Remove(conf.Control); err != nil { // the lock is ours, so nobody serves on it
		return err
	}
	groups, err := cgroup.Find()
	if err != nil && !errors.Is(err, cgroup.ErrNotDelegated) {
		return err
	}
	s := supervisor.New(supervisor.Options{
		Cgroups: groups,
		App:     conf.App, Version: Version(), State: conf.State, Notify: notifyPath(conf), Gates: gates,
		Hook: hookDir(conf), Scratch: scratchDir(conf), Values: supervisor.Values{Dir: valuesDir(conf)},
		Sink: out.sink(), Log: out.logger(), End: true,
	})
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		s.Hurry()
		err = <-ended
	}
	return errors.Join(err, copiesOf(conf).Remove())
}
