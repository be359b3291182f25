package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// settleTime bounds how long an upgrade waits for workers that are being started right now.
const settleTime = 10 * time.Second

// Renew is the part of an upgrade that is not the supervisor's.
type Renew struct {
	// Check has the new program say that it could take over, and returns its version.
	Check func(context.Context) (version string, err error)
	// HandOver starts the new daemon with these descriptors. It returns when that is in charge, or
	// why it is not.
	HandOver func([]Descriptor) error
}

// The steps of an upgrade.
const (
	stepCheck    = "check"
	stepHandOver = "hand over"
)

// handover replaces this daemon by a new one.
type handover struct {
	*core
	owner      *Supervisor
	handedOver bool // another daemon is in charge: what this one does not know any more it must not write
}

// upgrade has a new daemon take everything over, and this one leave. When that fails, this one goes
// on as if nothing had been. It is refused during a change.
func (ho *handover) upgrade(ctx context.Context, req Request, emit func(Event)) (*Outcome, error) {
	if ho.opt.Renew.HandOver == nil {
		return nil, &RefusedError{Err: errors.New("the daemon is process 1, and its end would end the container: update superctl with the image")}
	}
	u := upgrading{handover: ho, emit: emit, out: &Outcome{
		Kind: string(Upgrade), Result: Aborted, Who: req.Who, Origin: req.Origin, Started: time.Now(),
	}}
	defer func() { u.out.Seconds = time.Since(u.out.Started).Seconds() }()
	if err := ho.do(func() { u.out.Previous, u.out.Release = ho.opt.Version, ho.opt.Version }); err != nil {
		return nil, &RefusedError{Err: err}
	}
	if err := u.step(stepCheck, func() (version string, err error) {
		version, err = ho.opt.Renew.Check(ctx)
		u.out.Release = version
		return version, err
	}); err != nil {
		return ho.record(u.out), nil
	}
	if err := u.step(stepHandOver, func() (string, error) {
		return "", ho.renew(ctx, req.By(req.Who))
	}); err != nil {
		if isRefusal(err) {
			return nil, err
		}
		return ho.record(u.out), nil
	}
	u.out.Result, u.out.Changed = Done, true
	return ho.record(u.out), nil
}

// isRefusal reports whether an error means that nothing was begun.
func isRefusal(err error) bool {
	var busy *BusyError
	var refused *RefusedError
	return errors.As(err, &busy) || errors.As(err, &refused)
}

// upgrading is one upgrade in progress.
type upgrading struct {
	*handover
	emit func(Event)
	out  *Outcome
}

// step runs one step of an upgrade, and notes it in the outcome.
func (u *upgrading) step(name string, do func() (detail string, err error)) error {
	began := time.Now()
	u.fault(string(Upgrade), "before "+name)
	u.emit(Event{Type: "begin", Step: name})
	detail, err := do()
	u.fault(string(Upgrade), "after "+name)
	ev := Event{Type: "end", Step: name, Detail: detail, Seconds: time.Since(began).Seconds()}
	if err != nil {
		ev.Type, ev.Detail = "fail", err.Error()
		u.out.Error = name + ": " + err.Error()
	}
	u.emit(ev)
	u.out.Steps = append(u.out.Steps, Step{Name: name, Began: began, Seconds: ev.Seconds, Detail: ev.Detail})
	return err
}

func (ho *handover) record(out *Outcome) *Outcome {
	if ho.opt.Record != nil {
		if err := ho.owner.recorder.record(*out); err != nil {
			ho.log.Error("record history", zap.Error(err))
		}
	}
	return out
}

// renew hands over between two turns of the owner, when no worker is being started.
func (ho *handover) renew(ctx context.Context, who string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTime, errors.New("workers are being started; try again"))
	defer cancel()
	// Run by the owner, which cannot be awaited any longer once it has begun: that has a time limit
	// of its own.
	var begun bool
	var result error
	err := ho.await(ctx, func() (bool, error) {
		switch {
		case ho.owner.stopping || ho.owner.leaving:
			return false, &RefusedError{Err: ErrStopping}
		case ho.owner.change != nil:
			return false, &BusyError{Changing: *ho.owner.changing()}
		case ho.owner.admission.lease != nil:
			return false, &BusyError{Lock: ho.owner.admission.lease} // its connection would end
		case ho.owner.starting():
			return false, nil // its pid is not known yet, so that the next daemon could not adopt it
		case ho.owner.scheduling.end(errRestarted) != nil:
			return false, nil
		}
		begun, result = true, ho.handOver(who)
		return true, nil
	})
	if begun {
		err = result
	}
	if err != nil {
		_ = ho.do(ho.owner.scheduling.goOn)
	}
	return err
}

// starting reports whether a worker is between its start and the moment when its pid is known.
func (s *Supervisor) starting() bool {
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.spawning {
				return true
			}
		}
	}
	return false
}

// handOver stands still, so that what is handed over stays true, until the new daemon has taken it
// all or has failed.
func (ho *handover) handOver(who string) error {
	// what a worker says from here on is the next daemon's to hear, and what it has said is in the
	// state
	ho.owner.mailbox.pause()
	if err := ho.owner.journal.flush(); err != nil {
		ho.owner.mailbox.read()
		return fmt.Errorf("nothing was handed over: %w", err)
	}
	ho.log.Info("handing over to a new daemon", zap.String("who", who))
	for _, in := range ho.owner.reading() {
		in.pause() // two daemons that read one pipe would tear lines apart
	}
	all := make([]Descriptor, 0)
	for _, d := range ordered(ho.owner.store.descriptors()) {
		all = append(all, d)
	}
	ended := make(chan error, 1)
	ho.async(func() { ended <- ho.opt.Renew.HandOver(all) })
	for {
		select {
		case err := <-ended:
			if err == nil {
				ho.owner.leave()
				ho.handedOver = true
				return nil
			}
			ho.log.Error("the upgrade failed; this daemon goes on", zap.Error(err))
			for _, in := range ho.owner.reading() {
				in.read()
			}
			ho.owner.mailbox.read()
			return err
		case <-ho.owner.beat:
			ho.opt.Beat()
		}
	}
}

// reading lists the instances whose pipe is read.
func (s *Supervisor) reading() (list []*instance) {
	for _, g := range ordered(s.generations) {
		for _, in := range g.instances {
			if in.out != nil {
				list = append(list, in)
			}
		}
	}
	return list
}

// leave ends this daemon and nothing else: the workers run on, and what they need is in the state
// file, in the store, or with the next daemon already.
func (s *Supervisor) leave() {
	s.leaving = true
	s.startup.stopWaiting()
}

// Leave has Run return without touching a worker, because the next daemon is to adopt them all: for
// a restart of the service. A change that has not turned the gate yet is aborted first; one that
// has is finished by the next daemon.
func (s *Supervisor) Leave() {
	var first <-chan struct{} // closed when what must end first has ended
	if s.do(func() {
		if s.stopping {
			return
		}
		if c := s.change; c != nil && !c.committed && s.rolling == nil { // of a roll both generations serve
			c.kill(ErrStopping)
			first = c.done
			return
		}
		if first = s.scheduling.end(errRestarted); first == nil {
			s.leave()
		}
	}) != nil || first == nil {
		return
	}
	<-first
	s.Leave()
}

// Left is whether Run has returned without touching a worker; valid once it has returned.
func (s *Supervisor) Left() bool { return s.leaving }
