package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"superctl/plain"
)

// maxPrepare limits how long a change may wait for its word: it blocks all other changes.
const maxPrepare = 24 * time.Hour

// word is what a prepared change waits for before its cutover.
type word struct {
	change string // names the change to Go, while it waits; "" = it does not
	given  bool
}

// Go gives a prepared change the word to cut over. change is the name in its event "ready". The
// error is a *RefusedError if that change does not wait, because it was aborted for instance.
func (s *Supervisor) Go(change string) error {
	return s.try(func() error {
		if c := s.change; c != nil && c.word.change != "" && c.word.change == change {
			c.word.given = true
			return nil
		}
		return &RefusedError{Err: errors.New("the change no longer waits for \"go\"")}
	})
}

// refusePrepare says why there can be no wait for a word.
func (ad *admission) refusePrepare(req Request) error {
	switch {
	case req.Prepare == 0:
		return nil
	case !turnsOver(req.Kind):
		return &RefusedError{Usage: true, Err: fmt.Errorf(
			"prepare is for switch, rollback and reload only, not for %s", req.Kind,
		)}
	case req.Prepare < 0 || req.Prepare > maxPrepare:
		return &RefusedError{Usage: true, Err: fmt.Errorf(
			"invalid limit %s of prepare: use more than 0s and at most 24h, such as 10m", req.Prepare,
		)}
	case req.Detach:
		return &RefusedError{Usage: true, Err: errors.New("prepare needs a client that waits: leave out detach")}
	}
	return nil
}

// preparation waits for the word of a change that is ready for its cutover.
type preparation struct{ *change }

// awaitGo waits for the word, once, if the request asks for that. Whatever else ends the wait leaves
// the live generation as it was.
func (c *change) awaitGo() error {
	if c.req.Prepare == 0 || c.word.given {
		return nil
	}
	return c.step(stepReady, preparation{c}.wait)
}

// wait says that the change is ready and waits for the word. Meanwhile the workers of the new
// generation, if they run by now, are watched as in a canary: the first that fails ends the wait.
func (pr preparation) wait(ctx context.Context) (string, error) {
	limit := pr.req.Prepare
	timed, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no \"go\" within %s", plain.Duration(limit)))
	defer cancel()
	watched, fail := context.WithCancelCause(timed)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer fail(errPassed)
	deaths := 0
	if err := pr.owner.do(func() {
		pr.word.change = rand.Text()
		if pr.to != nil {
			deaths = pr.to.deaths
		}
	}); err != nil {
		return "", err
	}
	defer func() { _ = pr.owner.do(func() { pr.word.change = "" }) }()
	if pr.to != nil {
		if err := pr.watch().askAll(watched, &watching, fail); err != nil {
			return "", err
		}
	}
	began := time.Now()
	pr.emit(Event{Type: "ready", Step: stepReady, Detail: pr.plan.Release.Name, Change: pr.word.change})
	if err := pr.owner.await(watched, func() (bool, error) {
		if err := pr.failed(deaths); err != nil {
			return false, err
		}
		return pr.word.given, nil
	}); err != nil {
		return "", err
	}
	return fmt.Sprintf("\"go\" came after %s", time.Since(began).Round(time.Millisecond)), nil
}

// failed returns what has gone wrong with the generation that waits, which had so many deaths
// before.
func (pr preparation) failed(deaths int) error {
	switch {
	case pr.to == nil:
		return nil
	case pr.to.failure != nil:
		return pr.to.failure
	case pr.to.deaths > deaths:
		return &failure{reason: pr.to.lastDeath, log: pr.to.deathLog}
	}
	return nil
}
