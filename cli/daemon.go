package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"superctl/cli/config"
	"superctl/releases"
	"superctl/socket"
	"superctl/supervisor"
	"superctl/supervisor/control"
	"superctl/supervisor/worker"
)

// runDaemon is `superctl daemon`: it joins all packages, and returns when everything that it started has ended.
func runDaemon(path string, stderr io.Writer) error {
	inherited, err := socket.Inherit()
	if err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return &usageError{err}
	}
	if _, err := releases.Open(c.Releases, c.Current); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	lock, err := lockState(c.State)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // its end is the lock's
	out, err := openLogs(c.App, c.Log, stderr)
	if err != nil {
		return err
	}
	log := out.logger()
	for _, w := range c.Warnings {
		log.Warn(w, zap.String("config", path))
	}
	gates, err := makeGates(c, inherited, earlierDaemons(c.App))
	if err != nil {
		return err
	}
	plans := &planner{path: path, running: c}
	store := &releases.Store{Dir: c.Releases, Current: c.Current}
	history := releases.History{Path: historyPath(c)}
	s := supervisor.New(supervisor.Options{
		App: c.App, Version: version(), State: c.State, Notify: filepath.Join(filepath.Dir(c.Control), c.App+".notify"),
		Gates: gates, Resolve: plans.resolve,
		Point:  func(r supervisor.Release) error { return store.Point(r.Path) },
		Record: func(o supervisor.Outcome) error { return history.Append(o) },
		Say:    func(text string) { tell(log, "STATUS="+text) },
		Sink:   out.sink(), Fault: faults(), Log: log,
	})
	api, err := control.Listen(c.Control, controlGroup(c), s)
	if err != nil {
		return err
	}
	return (&run{s: s, api: api, out: out, log: log}).until()
}

func historyPath(c *config.Config) string { return filepath.Join(c.State, "history.jsonl") }

// controlGroup is the group that may use the control socket: the config's, else that of the app's user.
func controlGroup(c *config.Config) int {
	if c.User != nil {
		return int(c.User.Credential.GID)
	}
	if g, err := user.LookupGroup(c.Group); c.Group != "" && err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			return gid
		}
	}
	return -1
}

// earlierDaemons tells whether a process was started for this app by a daemon before this one.
func earlierDaemons(app string) func(pid int) bool {
	return func(pid int) bool { return worker.BelongsTo(pid, app) }
}

// tell tells systemd, if it listens.
func tell(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("notify systemd", zap.Error(err))
	}
}

// run is the daemon while it runs.
type run struct {
	s   *supervisor.Supervisor
	api *control.Server
	out *logs
	log *zap.Logger
}

// until runs everything until a signal ends it. The first part to end stops all, and all are waited for.
func (r *run) until() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()

	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	ended := make(chan error, 2)
	parts.Go(func() {
		err := r.s.Run(ctx)
		stopServing() // to the last, so that status can tell how the end goes
		ended <- err
	})
	parts.Go(func() { ended <- r.api.Serve(serving) })
	if os.Getpid() == 1 {
		parts.Go(func() { worker.ReapOrphans(serving) })
	}
	started := r.s.Started()
	for stopping := false; ; {
		select {
		case <-started:
			started = nil
			tell(r.log, daemon.SdNotifyReady)
			r.log.Info("superctl is ready", zap.Int("pid", os.Getpid()), zap.String("version", version()))
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				parts.Go(r.reload)
			case syscall.SIGUSR1:
				if err := r.out.Reopen(); err != nil {
					r.log.Error("reopen the log", zap.Error(err))
				}
			default:
				if stopping {
					r.log.Warn("asked to stop a second time: what still runs is killed")
					parts.Go(r.s.Hurry)
					continue
				}
				stopping = true
				r.log.Info("stopping: the workers finish what they have", zap.Stringer("signal", sig))
				tell(r.log, daemon.SdNotifyStopping)
				stop()
			}
		case err := <-ended:
			stop()
			err = errors.Join(err, <-ended)
			return err
		}
	}
}

// reload is SIGHUP.
func (r *run) reload() {
	out, err := r.s.Change(context.Background(), supervisor.Request{Kind: supervisor.Reload, Who: "SIGHUP"}, func(supervisor.Event) {})
	switch {
	case err != nil:
		r.log.Error("reload refused", zap.Error(err))
	case out.Result != supervisor.Done:
		r.log.Error("reload failed", zap.String("outcome", string(out.Result)), zap.String("error", out.Error), zap.Strings("log", out.Log))
	}
}
