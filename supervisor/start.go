package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// firstStart makes a release live when nothing else could serve.
type firstStart struct{ *change }

func (c *change) firstStart() firstStart { return firstStart{c} }

// start is the change by which a starting daemon makes a release live; no request can ask for it.
const start Kind = "start"

// startup starts the release that should be live, again and again until it works.
type startup struct {
	*core
	owner   *Supervisor
	started chan struct{} // closed when the first generation is proved, has failed, or there is none to start
	once    sync.Once     // closes it
	failure string        // why the newest start has failed; "" = it has not
	tries   int           // that have failed in a row
	timer   *time.Timer   // of the next one

	waiting    string             // for what the start waits; "" = it does not
	endWaiting context.CancelFunc // nil when it does not
}

// begin begins to serve what was live when the last daemon ended, or what `current` points to.
func (su *startup) begin(ctx context.Context) {
	c, _, err := su.owner.admission.begin(Request{Kind: start, Who: "the daemon"})
	if err != nil {
		panic("supervisor: the first change is refused: " + err.Error()) // nothing else can be in progress
	}
	su.async(func() {
		stop := context.AfterFunc(ctx, func() { c.cancel(ErrStopping) })
		defer stop()
		c.dropEvents()
		su.decide()
	})
}

// decide says that the start of the daemon is, and has the owner look at the health of the app.
func (su *startup) decide() {
	su.once.Do(func() {
		close(su.started)
		su.post(nothing)
	})
}

// perform makes a release live without proof, because nothing else could serve meanwhile: what
// fails is started again and again, and connections wait in the listeners' queues until it succeeds
// or an operator switches.
func (f firstStart) perform() error {
	if f.from != nil {
		if err := f.adoption().perform(); err != nil {
			return err
		}
		return f.adoption().renew()
	}
	if err := f.step(stepResolve, f.resolveStart); err != nil || f.unchanged != "" {
		return err
	}
	if err := f.share(); err != nil {
		return err
	}
	if err := f.publish(); errors.Is(err, ErrStopping) {
		return err
	} else if err != nil { // a site must not stay down for want of a style sheet
		f.warn("%v; it is tried again when the release is live", err)
	}
	err := f.step(stepBoot, f.boot)
	if err == nil {
		err = f.step(stepCutover, f.cutover)
	}
	if err != nil {
		return f.undo().abandon(err) // a port that another process has, for instance: it is tried again
	}
	proof := f.step(stepProve, f.firstProof)
	if proof != nil && errors.Is(proof, ErrStopping) {
		return proof
	}
	if proof == nil {
		// what an earlier daemon kept as the way back from a generation that is lost
		_ = f.owner.do(func() { f.owner.retireWarm(nil) })
	}
	if f.background().any(f.to) {
		return errors.Join(proof, f.step(stepFollow, f.background().follow))
	}
	return proof
}

// ended takes the end of a start. When nothing is live by it, what was live is gone, or lacks a
// credential, or its port is taken: the daemon stays, says so, and tries again.
func (su *startup) ended(c *change, err error) {
	waited := su.stopWaiting()
	switch {
	case su.owner.live != nil:
		su.failure, su.tries = "", 0
		return
	case su.owner.stopping || su.owner.leaving:
		return
	case c.waits != nil:
		su.failure, su.tries = "", 0
		su.wait(c.waits)
		return
	case waited && c.req.Kind != start:
		su.again() // it may have to wait on
		return
	}
	if c.req.Kind == start && err != nil && !errors.Is(err, ErrStopping) {
		su.failure = c.errorText(err)
	}
	if su.failure == "" {
		return
	}
	su.tries++
	wait := su.backoff(su.tries + startBackoff)
	su.log.Error(
		"the release that should be live could not be started", zap.String("reason", su.failure),
		zap.Duration("next_try_in", wait),
	)
	su.timer = su.postAfter(wait, func() {
		if su.owner.live == nil && su.owner.change == nil && !su.owner.stopping && !su.owner.leaving {
			su.again()
		}
	})
}

// startBackoff is how many steps of the back-off a start that has failed skips: the first wait is
// about a second and a half.
const startBackoff = 4

// again is startLive for one that has failed.
func (su *startup) again() {
	if err := su.owner.admission.beginOwn(Request{Kind: start, Who: "the daemon"}); err != nil {
		su.log.Error("start the release that should be live", zap.Error(err))
	}
}

// retries reports whether a change only repeats a start that has failed: the history has that once.
func (f firstStart) retries(err error) bool {
	return f.req.Kind == start && err != nil &&
		ask(f.owner.core, func() bool { return f.owner.startup.tries > 0 })
}

func (f firstStart) resolveStart(ctx context.Context) (string, error) {
	if thaw, err := f.owner.freeze(ctx); err == nil { // a site must not stay down for want of a lock
		defer thaw()
	}
	plan, err := f.owner.opt.Resolve(ctx, Target{Kind: start, Live: f.was.release, Previous: f.was.previous})
	var none *NoReleaseError
	if errors.As(err, &none) {
		f.unchanged = none.Error()
		return f.unchanged, nil
	}
	if errors.As(err, &f.waits) {
		f.unchanged = f.waits.Error()
		return f.unchanged, nil
	}
	if err != nil {
		return "", err
	}
	f.keepValues(&plan)
	f.plan = plan
	f.checking().start()
	if err := f.checking().wait(); err != nil {
		return "", err
	}
	return plan.Release.Name, f.resolution().noteRelease()
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
func (f firstStart) firstProof(ctx context.Context) (string, error) {
	listening := func(p *Process) bool { return len(p.Listen) > 0 }
	limit := f.plan.limitOf(stepProve, 0)
	if limit == 0 {
		return "", nil // none of them has a listener
	}
	ctx, cancel := context.WithTimeoutCause(
		ctx, limit, fmt.Errorf("not ready within %s; superctl keeps starting it until it works", limit),
	)
	defer cancel()
	err := f.owner.await(ctx, func() (bool, error) {
		for _, in := range f.to.instances {
			if listening(in.proc) && in.state == InstanceBackoff && in.streak >= crashLoop {
				return false, &failure{
					reason: fmt.Sprintf("%s %s; superctl keeps starting it until it works", in, in.reason),
					log:    in.tail.Lines(),
				}
			}
		}
		return f.to.provenBy(listening), nil
	})
	switch {
	case errors.Is(err, ErrStopping):
		f.owner.log.Info("the daemon stops before the live release has served: the next daemon starts it again",
			zap.String("release", f.plan.Release.Name))
		return "", err
	case err != nil:
		f.owner.log.Error("the live release does not start", zap.String("release", f.plan.Release.Name), zap.Error(err))
		return "", err
	}
	return "", nil
}

// pending returns what is closed when the start in progress is decided, nil when none is: a
// change waits for the first one, and for one that is tried again because an earlier one has
// failed.
func (su *startup) pending() <-chan struct{} {
	switch {
	case su.owner.change == nil || su.owner.change.req.Kind != start:
		return nil
	case su.tries > 0:
		return su.owner.change.done
	default:
		return su.started
	}
}
