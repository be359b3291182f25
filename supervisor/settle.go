package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"superctl/plain"
)

// settle waits until nothing is left for g in the accept queues.
func (c *change) settle(ctx context.Context, g *generation) (string, error) {
	left, err := g.settle(ctx, c.plan.Settle)
	if errors.Is(err, ErrStopping) {
		return "", err
	}
	if err != nil {
		c.warn("%v", err)
	}
	if left > 0 {
		c.warn("%s for generation %d after %s", stillQueued(left), g.id, c.plan.Settle)
	}
	return "", nil
}

// stillQueued says how many connections their workers had not accepted.
func stillQueued(n int) string {
	return plain.Count(n, "connection was", "connections were") + " still queued"
}

// unroutableTime is how long the workers of a generation are given to empty an accept queue that
// this daemon cannot look into: longer than a handshake takes, and no new connection comes.
const unroutableTime = time.Second

// settle waits, not longer than limit, until nothing is left for g in the accept queues, and
// returns how much still is.
func (g *generation) settle(ctx context.Context, limit time.Duration) (left int, err error) {
	var queues []listener
	var unroutable bool
	if err := g.owner.do(func() {
		unroutable = g.unroutable
		for _, list := range ordered(g.listeners()) {
			queues = append(queues, list...)
		}
	}); err != nil {
		return 0, err
	}
	if unroutable {
		select {
		case <-time.After(min(limit, unroutableTime)):
		case <-ctx.Done():
		}
	}
	return settleQueues(ctx, queues, limit)
}

// settleQueues waits, not longer than limit, until nothing is left in the accept queues, and
// returns how much still is.
func settleQueues(ctx context.Context, queues []listener, limit time.Duration) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, l := range queues {
		n, bad := l.settle(ctx)
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("listener %q: %w", l.gate.Name(), bad))
		}
		left += n
	}
	return left, err
}
