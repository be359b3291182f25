package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// start is the change by which a starting daemon makes a release live; nobody can ask for it.
const start Kind = "start"

// startLive begins to serve what was live when the last daemon ended, or what `current` points to.
func (s *Supervisor) startLive(ctx context.Context) {
	c, _, err := s.begin(Request{Kind: start, Who: "the daemon"})
	if err != nil {
		panic("supervisor: the first change is refused: " + err.Error()) // nothing else can be in progress
	}
	s.beside(func() {
		stop := context.AfterFunc(ctx, func() { c.cancel(ErrStopping) })
		defer stop()
		for range c.events { // nobody watches a start; its outcome is logged
		}
		<-c.done
		s.decided()
	})
}

// decided says that the start of the daemon is, and has the owner look at the health of the app.
func (s *Supervisor) decided() {
	s.startedOnce.Do(func() {
		close(s.started)
		s.post(func() {})
	})
}

// performStart makes a release live without proof, because nothing else could serve meanwhile: what
// fails is started again and again, and connections wait in the listeners' queues until it succeeds
// or somebody switches.
func (c *change) performStart() error {
	if c.from != nil {
		if err := c.performAdoption(); err != nil {
			return err
		}
		return c.renew()
	}
	if err := c.step(stepResolve, c.resolveStart); err != nil || c.unchanged != "" {
		return err
	}
	if err := c.share(); err != nil {
		return err
	}
	err := c.step(stepBoot, c.boot)
	if err == nil {
		err = c.step(stepCutover, c.cutover)
	}
	if err != nil {
		return c.abandon(err) // a port that somebody else has, for instance: it is tried again
	}
	proof := c.step(stepProve, c.firstProof)
	if proof != nil && errors.Is(proof, ErrStopping) {
		return proof
	}
	if proof == nil {
		// what an earlier daemon kept as the way back from a generation that is lost
		_ = c.s.do(func() { c.s.retireWarm(nil) })
	}
	if c.background(c.to) {
		return errors.Join(proof, c.step(stepFollow, c.startBackground))
	}
	return proof
}

// noteStart takes the end of a start. When nothing is live by it, what was live is gone, or lacks a
// credential, or somebody has its port: the daemon stays, says so, and tries again.
func (s *Supervisor) noteStart(c *change, err error) {
	if s.live != nil {
		s.startFailure, s.startTries = "", 0
		return
	}
	if c.req.Kind == start && err != nil && !errors.Is(err, ErrStopping) {
		s.startFailure = c.errorText(err)
	}
	if s.startFailure == "" || s.stopping || s.leaving {
		return
	}
	s.startTries++
	wait := s.backoff(s.startTries + startBackoff)
	s.log.Error(
		"the release that should be live could not be started", zap.String("reason", s.startFailure),
		zap.Duration("next_try_in", wait),
	)
	s.startTimer = time.AfterFunc(wait, func() {
		s.post(func() {
			if s.live == nil && s.change == nil && !s.stopping && !s.leaving {
				s.startAgain()
			}
		})
	})
}

// startBackoff is how many steps of the back-off a start that has failed skips: the first wait is
// about a second and a half.
const startBackoff = 4

// startAgain is startLive for one that has failed.
func (s *Supervisor) startAgain() {
	c, _, err := s.begin(Request{Kind: start, Who: "the daemon"})
	if err != nil {
		s.log.Error("start the release that should be live", zap.Error(err))
		return
	}
	s.beside(func() {
		for range c.events { // nobody watches it; its outcome is logged
		}
		<-c.done
	})
}

// retries reports whether a change only repeats a start that has failed: the history has that once.
func (c *change) retries(err error) (again bool) {
	if c.req.Kind == start && err != nil {
		_ = c.s.do(func() { again = c.s.startTries > 0 })
	}
	return again
}

func (c *change) resolveStart(ctx context.Context) (string, error) {
	if thaw, err := c.s.freeze(ctx); err == nil { // a site must not stay down for want of a lock
		defer thaw()
	}
	plan, err := c.s.opt.Resolve(ctx, Target{Kind: start, Live: c.was.release, Previous: c.was.previous})
	var none *NoReleaseError
	if errors.As(err, &none) {
		c.unchanged = none.Error()
		return c.unchanged, nil
	}
	if err != nil {
		return "", err
	}
	c.keep(&plan)
	c.plan = plan
	c.startCheck()
	if err := c.checked(); err != nil {
		return "", err
	}
	return plan.Release.Name, c.s.do(func() { c.release = plan.Release })
}

// NoSuchReleaseError is Resolve's answer to a word that names no release, or more than one: most
// likely a slip of the fingers. Neither the history nor the notify targets get it.
type NoSuchReleaseError struct{ Err error }

func (e *NoSuchReleaseError) Error() string { return e.Err.Error() }

// Unwrap is what is wrong with the word.
func (e *NoSuchReleaseError) Unwrap() error { return e.Err }

// NoReleaseError is Resolve's answer at a start when no release was live and `current` points
// nowhere: not a failure.
type NoReleaseError struct{ Reason string }

func (e *NoReleaseError) Error() string { return e.Reason }

// firstProof waits until all workers with listeners are ready. It gives up when one ends again and
// again, or when their time to start is over; then they are started again until they work, and
// status says so.
func (c *change) firstProof(ctx context.Context) (string, error) {
	listening := func(p *Process) bool { return len(p.Listen) > 0 }
	limit := time.Duration(0)
	for i := range c.plan.Processes {
		if p := &c.plan.Processes[i]; listening(p) {
			limit = max(limit, p.StartTimeout)
		}
	}
	ctx, cancel := context.WithTimeoutCause(
		ctx, limit, fmt.Errorf("not ready within %s; it is started again until it works", limit),
	)
	defer cancel()
	err := c.s.await(ctx, func() (bool, error) {
		for _, in := range c.to.instances {
			if listening(in.proc) && in.state == InstanceBackoff && in.streak >= crashLoop {
				return false, &failure{
					reason: fmt.Sprintf("%s %s; it is started again until it works", in, in.reason),
					log:    in.tail.Lines(),
				}
			}
		}
		return c.to.provenBy(listening), nil
	})
	if err != nil {
		c.s.log.Error("the live release does not start", zap.String("release", c.plan.Release.Name), zap.Error(err))
		return "", err
	}
	return "", nil
}
