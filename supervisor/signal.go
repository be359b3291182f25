package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"superctl/api"
)

// Signal sends a signal to the main process of each worker of a process, draining and standby ones
// included: a log that was rotated must be opened again by all that write to it. A worker that is
// still starting is left out, because it opens its files by itself and may not handle the signal
// yet; so is one that the signal would end. The error is a *RefusedError.
func (s *Supervisor) Signal(req api.SignalRequest) (*api.Signaled, error) {
	sig := unix.SignalNum("SIG" + req.Signal)
	if sig == 0 || !slices.Contains(api.Signals, req.Signal) {
		return nil, &RefusedError{
			Usage: true,
			Err:   fmt.Errorf("signal %q cannot be sent: one of %s can", req.Signal, strings.Join(api.Signals, ", ")),
		}
	}
	var targets []signalTarget
	var err error
	if stopped := s.do(func() { targets, err = s.signalTargets(req.Process) }); stopped != nil {
		return nil, &RefusedError{Err: stopped}
	}
	if err != nil {
		return nil, err
	}
	out := &api.Signaled{App: s.opt.App, Process: req.Process, Signal: req.Signal, Workers: []api.SignaledWorker{}}
	for _, t := range targets {
		t.send(sig)
		out.Workers = append(out.Workers, t.SignaledWorker)
		s.log.Info("signal", zap.String("signal", req.Signal), zap.String(
			"who", req.By(req.Who),
		), zap.String("process", req.Process),
			zap.Int("generation", t.Generation), zap.Int("instance", t.Instance), zap.Int("pid", t.PID),
			zap.Bool("sent", t.Sent), zap.String("reason", t.Reason))
	}
	return out, nil
}

// signalTarget is a worker that may get a signal.
type signalTarget struct {
	api.SignaledWorker
	w process
}

// signalTargets returns the workers of a process, those of the oldest generation first.
func (s *Supervisor) signalTargets(name string) (list []signalTarget, err error) {
	known := s.live != nil && s.live.plan.process(name) != nil
	for _, g := range s.generations {
		for _, in := range g.of(name) {
			known = true
			if in.w == nil {
				continue
			}
			t := signalTarget{w: in.w, SignaledWorker: api.SignaledWorker{
				Generation: g.id, Release: g.plan.Release.Name, Instance: in.index, PID: in.w.PID(),
			}}
			switch in.state {
			case InstanceStarting:
				t.Reason = "it is starting"
			case InstanceKilling:
				t.Reason = "it is being killed"
			default:
			}
			list = append(list, t)
		}
	}
	if !known {
		return nil, s.noProcess(name)
	}
	slices.SortFunc(list, func(a, b signalTarget) int {
		return cmp.Or(cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Instance, b.Instance))
	})
	return list, nil
}

func (s *Supervisor) noProcess(name string) error {
	if s.live == nil {
		return &RefusedError{Err: errors.New("no release is live, so there is nothing to signal; superctl switch RELEASE starts one")}
	}
	return &RefusedError{Usage: true, Err: fmt.Errorf("there is no process %q: the live release has %s", name,
		strings.Join(processNames(s.live.plan), ", "))}
}

// send sends the signal, unless it would end the worker.
func (t *signalTarget) send(sig syscall.Signal) {
	if t.Reason != "" {
		return
	}
	handles, err := t.w.Handles(sig)
	switch {
	case err == nil && !handles:
		err = fmt.Errorf(
			"it does not handle SIG%s, which would end it", strings.TrimPrefix(unix.SignalName(sig), "SIG"),
		)
	case err == nil:
		err = t.w.Signal(sig)
	}
	if err != nil {
		t.Reason, t.Failed = err.Error(), true
		return
	}
	t.Sent = true
}
