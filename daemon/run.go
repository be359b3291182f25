package daemon

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/daemon/systemd"
	"superctl/supervisor/worker"
)

// tell tells systemd, if it listens.
func (d *daemon) tell(state string) {
	if err := systemd.Notify(state); err != nil {
		d.log.Warn("notify systemd", zap.Error(err))
	}
}

// run runs everything until a signal ends it. The first part to end stops all, and all are waited
// for; but a daemon that leaves its workers to the next one waits for nothing that goes on.
func (d *daemon) run() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	telling, stopTelling := context.WithCancel(context.Background())
	var teller sync.WaitGroup
	teller.Go(func() { d.tellTeam(telling) })
	defer teller.Wait()
	defer stopTelling()
	if err := worker.ReserveDescriptors(); err != nil {
		d.log.Warn("workers may be left over when no file can be opened", zap.Error(err))
	}
	var parts sync.WaitGroup
	if os.Getpid() == 1 || d.groups == nil {
		if err := worker.AdoptOrphans(); err != nil {
			return err
		}
		parts.Go(func() { worker.ReapOrphans(serving) })
	} else if err := worker.KnowChildren(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	served := make(chan error, 1)
	go func() { ended <- d.s.Run(ctx) }()
	go func() { served <- d.api.Serve(serving) }()
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
			d.tell("READY=1")
			d.log.Info("superctl is ready", zap.Int("pid", os.Getpid()), zap.String("version", Version()))
		case sig := <-signals:
			if sig != syscall.SIGTERM && sig != syscall.SIGINT {
				parts.Go(func() { d.obey(sig) })
				continue
			}
			if stopping {
				d.log.Warn("asked to stop a second time: what still runs is killed")
				parts.Go(d.s.Hurry)
				continue
			}
			stopping = true
			d.tell("STOPPING=1")
			parts.Go(func() { d.end(sig, stop) })
		case err := <-served:
			stop()
			return errors.Join(err, <-ended)
		case err := <-ended:
			if d.s.Left() {
				d.api.LeaveToNext()
			}
			stopServing() // to the last, so that status can tell how the end goes
			err = errors.Join(err, <-served)
			if !d.s.Left() {
				parts.Wait()
				err = errors.Join(err, worker.EndOrphans(), copiesOf(d.config).Remove())
			}
			return err
		}
	}
}

// takeCharge is the moment from which on the daemon before this one, if it is there, is not needed
// any more.
func (d *daemon) takeCharge() error {
	if d.fault != nil {
		d.fault("recover: before take charge")
		defer d.fault("recover: after take charge")
	}
	if err := d.kept.close(); err != nil {
		d.log.Error("close what an earlier daemon has left", zap.Error(err))
	}
	if d.renewal.HasParent() {
		// Before that daemon ends: systemd would take its end for the end of the service
		// (NotifyAccess=all).
		d.tell("MAINPID=" + strconv.Itoa(os.Getpid()) + "\nREADY=1")
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		if err := systemd.Barrier(ctx); err != nil {
			d.log.Warn("tell systemd that this is the main process now", zap.Error(err))
		}
	}
	return d.renewal.Ready()
}

// obey does what a signal asks for, beside the main loop.
func (d *daemon) obey(sig os.Signal) {
	req := api.Request{Kind: api.Reload, Who: "SIGHUP"}
	switch sig {
	case syscall.SIGUSR1:
		if err := d.out.Reopen(); err != nil {
			d.log.Error("reopen the log", zap.Error(err))
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

// end ends everything, or leaves it to the daemon that systemd is about to start.
func (d *daemon) end(sig os.Signal, stop func()) {
	intent := systemd.Stop
	if sig == syscall.SIGTERM {
		intent = systemd.AwaitIntent(context.Background())
	}
	if intent == systemd.Unknown {
		d.log.Warn("systemd does not say whether this is a stop or a restart: the workers go on; superctl end stops them")
		intent = systemd.Restart
	}
	if intent == systemd.Restart {
		d.log.Info("leaving: the workers go on, for the next daemon", zap.Stringer("signal", sig))
		d.s.Leave()
		return
	}
	d.log.Info("stopping: the workers finish what they have", zap.Stringer("signal", sig))
	stop()
}
