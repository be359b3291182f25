package supervisor

import (
	"context"
	"errors"
	"fmt"

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

// decided says that the start of the daemon is.
func (s *Supervisor) decided() { s.startedOnce.Do(func() { close(s.started) }) }

// performStart makes a release live without proof, because nothing else could serve meanwhile: what fails is started again
// and again, and connections wait in the listeners' queues until it succeeds or somebody switches.
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
	if err := c.openUp(); err != nil {
		return c.abandon(err)
	}
	proof := c.step(stepProve, c.firstProof)
	if proof != nil && errors.Is(proof, ErrStopping) {
		return proof
	}
	if c.background(c.to) {
		return errors.Join(proof, c.step(stepFollow, c.startBackground))
	}
	return proof
}

// openUp opens the listeners and lets connections in. A daemon that cannot do that has nothing to do: it ends.
func (c *change) openUp() error {
	err := c.step(stepBoot, c.boot)
	if err == nil {
		err = c.step(stepCutover, c.cutover)
	}
	if err != nil && !errors.Is(err, ErrStopping) {
		_ = c.s.do(func() {
			c.s.fatal = err
			c.s.stop()
		})
	}
	return err
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
	return plan.Release.Name, c.s.do(func() { c.release = plan.Release })
}

// NoReleaseError is Resolve's answer at a start when no release was live and `current` points nowhere: not a failure.
type NoReleaseError struct{ Reason string }

func (e *NoReleaseError) Error() string { return e.Reason }

// firstProof waits until all workers with listeners are ready, or until one has failed for the first time.
func (c *change) firstProof(ctx context.Context) (string, error) {
	err := c.s.await(ctx, func() (bool, error) {
		for _, in := range c.to.instances {
			if in.state == InstanceBackoff || in.restarts > 0 {
				return false, &failure{reason: fmt.Sprintf("%s %s; it is started again until it works", in, in.reason), log: in.tail.Lines()}
			}
		}
		return c.to.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }), nil
	})
	if err != nil {
		c.s.log.Error("the live release does not start", zap.String("release", c.plan.Release.Name), zap.Error(err))
		return "", err
	}
	return "", nil
}
