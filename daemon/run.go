package daemon

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/daemon/systemd"
	"superctl/supervisor/worker"
	"superctl/version"
)

// notifySystemd sends a state to systemd if it manages the daemon (sd_notify(3)).
func (d *daemon) notifySystemd(state string) {
	if err := systemd.Notify(state); err != nil {
		d.log.Warn("notify systemd", zap.Error(err))
	}
}

// gcPercent makes the garbage collector start at half of the garbage that Go allows by default: a
// daemon that is idle nearly always has CPU to spare, and shares its memory with the site.
const gcPercent = 50

func limitGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// run runs the daemon until it ends. The first part that ends stops the others, and run waits for
// all of them, except if the daemon leaves its workers to the next one.
func (d *daemon) run() error {
	signals, ignoreSignals := catchSignals()
	defer ignoreSignals()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	defer d.startNotifications()()
	defer d.assets.end()
	var parts sync.WaitGroup
	if err := d.reapWorkers(serving, &parts); err != nil {
		return err
	}
	ended := start(ctx, d.s.Run)
	served := start(serving, d.api.Serve)
	parts.Go(func() { d.mendSockets(serving) })
	adopted, started := d.s.Adopted(), d.s.Started()
	for stopping := false; ; {
		select {
		case <-adopted:
			adopted = nil
			if err := d.takeCharge(); err != nil {
				return err
			}
		case <-started:
			started = nil
			d.ready()
		case sig := <-signals:
			stopping = d.onSignal(sig, stopping, &parts, stop)
		case err := <-served:
			stop()
			return errors.Join(err, <-ended)
		case err := <-ended:
			d.leaveSocket()
			stopServing() // only now, so that status works during the stop
			return errors.Join(err, <-served, d.cleanUp(&parts))
		}
	}
}

// catchSignals returns the signals that the daemon obeys, and a function that leaves them to Go.
func catchSignals() (signals chan os.Signal, stop func()) {
	signals = make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	return signals, func() { signal.Stop(signals) }
}

// start runs a part of the daemon until ctx ends. It returns a channel that gets the error of the
// part when it has ended.
func start(ctx context.Context, part func(context.Context) error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	return ended
}

// leaveSocket leaves the control socket to the next daemon, if there is one.
func (d *daemon) leaveSocket() {
	if d.s.Left() {
		d.api.LeaveToNext()
	}
}

// cleanUp removes what no other daemon needs.
func (d *daemon) cleanUp(parts *sync.WaitGroup) error {
	if d.s.Left() {
		return nil
	}
	parts.Wait()
	return errors.Join(worker.EndOrphans(), copiesOf(d.config).Remove(), removeSecrets(d.config))
}

// startNotifications starts sending messages to the team, and returns a function that ends it.
func (d *daemon) startNotifications() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { d.sendNotifications(ctx) })
	return func() {
		cancel()
		sending.Wait()
	}
}

func (d *daemon) ready() {
	d.notifySystemd("READY=1")
	d.log.Info("superctl is ready", zap.Int("pid", os.Getpid()), zap.String("version", version.String()))
}

// reapWorkers prepares the daemon to find and reap all processes of its workers.
func (d *daemon) reapWorkers(ctx context.Context, parts *sync.WaitGroup) error {
	if err := worker.ReserveDescriptors(); err != nil {
		d.log.Warn("reserve descriptors: processes of workers may survive when no file can be opened", zap.Error(err))
	}
	if os.Getpid() != 1 && d.groups != nil {
		return worker.KnowChildren()
	}
	if err := worker.AdoptOrphans(); err != nil {
		return err
	}
	parts.Go(func() { worker.ReapOrphans(ctx) })
	return nil
}

// isStop reports whether a signal stops the daemon.
func isStop(sig os.Signal) bool { return sig == syscall.SIGTERM || sig == syscall.SIGINT }

// onSignal handles a signal in a goroutine of parts, and reports whether the daemon is stopping. The
// second stop signal kills the workers.
func (d *daemon) onSignal(sig os.Signal, stopping bool, parts *sync.WaitGroup, stop func()) bool {
	switch {
	case !isStop(sig):
		parts.Go(func() { d.obey(sig) })
	case stopping:
		d.log.Warn("second stop signal: killing the remaining workers")
		parts.Go(d.s.KillAll)
	default:
		d.notifySystemd("STOPPING=1")
		parts.Go(func() { d.end(sig, stop) })
	}
	return stopping || isStop(sig)
}

// takeCharge makes this process the app's daemon: in an upgrade, the previous daemon can exit.
func (d *daemon) takeCharge() error {
	if d.fault != nil {
		d.fault("recover: before take charge")
		defer d.fault("recover: after take charge")
	}
	if err := d.kept.close(); err != nil {
		d.log.Error("close unused descriptors of an earlier daemon", zap.Error(err))
	}
	if d.upgrader.HasParent() {
		// Before the previous daemon exits, because systemd would take that for the end of the
		// service (NotifyAccess=all).
		d.notifySystemd("MAINPID=" + strconv.Itoa(os.Getpid()) + "\nREADY=1")
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		if err := systemd.Barrier(ctx); err != nil {
			d.log.Warn("wait until systemd knows the new main process", zap.Error(err))
		}
	}
	return d.upgrader.Ready()
}

// obey performs the change that a signal asks for. It runs in a goroutine of its own.
func (d *daemon) obey(sig os.Signal) {
	req := api.Request{Kind: api.Reload, Who: "SIGHUP"}
	switch sig {
	case syscall.SIGUSR1:
		if err := d.out.Reopen(); err != nil {
			d.log.Error("reopen the log file", zap.Error(err))
		}
		return
	case syscall.SIGUSR2:
		req = api.Request{Kind: api.Upgrade, Who: "SIGUSR2"}
	}
	out, err := d.s.Change(context.Background(), req, func(api.Event) {})
	switch {
	case err != nil:
		d.log.Error(string(req.Kind)+" refused", zap.Error(err))
	case out.Result != api.Done:
		d.log.Error(
			string(req.Kind)+" failed", zap.String("outcome", string(out.Result)), zap.String("error", out.Error),
			zap.Strings("log", out.Log),
		)
	}
}

// end stops all workers, or leaves them to the daemon that systemd is about to start.
func (d *daemon) end(sig os.Signal, stop func()) {
	intent := systemd.Stop
	if sig == syscall.SIGTERM {
		intent = systemd.AwaitIntent(context.Background())
	}
	if intent == systemd.Unknown {
		d.log.Warn("unknown whether this is a stop or a restart: systemd does not answer; " +
			"the workers keep running; superctl end stops them")
		intent = systemd.Restart
	}
	if intent == systemd.Restart {
		d.log.Info("exiting: the workers keep running for the next daemon", zap.Stringer("signal", sig))
		d.s.Leave()
		return
	}
	d.log.Info("stopping: the workers finish their requests", zap.Stringer("signal", sig))
	stop()
}
