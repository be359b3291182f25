package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"

	"superctl/supervisor/health"
)

// probation watches the new generation while the old one is kept, without new connections.
func (c *change) probation(ctx context.Context) (string, error) {
	over, cancel := context.WithTimeoutCause(ctx, c.plan.Probation, errPassed)
	defer cancel()
	watched, fail := context.WithCancelCause(over)
	defer fail(nil)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer fail(errPassed)
	if err := c.askAll(watched, &asking, fail); err != nil {
		return "", err
	}
	err := c.s.await(watched, func() (bool, error) {
		if c.to.deaths > 0 {
			return false, &failure{reason: c.to.lastDeath, log: c.to.deathLog}
		}
		return false, nil
	})
	if errors.Is(err, errPassed) || errors.Is(err, ErrStopping) {
		return "healthy for " + c.plan.Probation.String(), nil
	}
	return "", err
}

// askAll has the new generation asked for its health until ctx ends; one bad answer is the end,
// with it as the cause.
func (c *change) askAll(ctx context.Context, asking *sync.WaitGroup, fail context.CancelCauseFunc) error {
	var ask []*instance // one of each lane
	if err := c.s.do(func() {
		for _, in := range c.to.instances {
			p := in.proc
			if p.Health == nil || c.kind == Restart && c.from != nil && len(c.from.of(p.Name)) == 0 {
				continue
			}
			if !slices.ContainsFunc(ask, func(other *instance) bool { return other.lane() == in.lane() }) {
				ask = append(ask, in)
			}
		}
		for _, in := range ask {
			p, asks := in.proc, c.s.proberOf(in)
			asking.Go(func() {
				asks.ask(ctx, asks.steadily, func(r health.Result) bool {
					if !r.OK {
						fail(&failure{reason: p.Name + ": " + r.Reason, log: c.tail(p.Name)})
					}
					return r.OK
				})
			})
		}
	}); err != nil {
		return err
	}
	return nil
}

// tail is what a process of the new generation wrote last.
func (c *change) tail(process string) []string {
	var lines []string
	_ = c.s.do(func() {
		for _, in := range c.to.of(process) {
			lines = append(lines, in.tail.Lines()...)
		}
	})
	return lines
}
