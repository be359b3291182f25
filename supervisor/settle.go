package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"
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
		c.warn("%d connections were still queued for generation %d after %s", left, g.id, c.plan.Settle)
	}
	return "", nil
}

// astrayTime is how long the workers of a generation are given to empty an accept queue that this
// daemon cannot look into: longer than a handshake takes, and no new connection comes.
const astrayTime = time.Second

// settle waits, not longer than limit, until nothing is left for g in the accept queues, and
// returns how much still is.
func (g *generation) settle(ctx context.Context, limit time.Duration) (left int, err error) {
	var queues map[string][]int
	var astray bool
	if err := g.owner.do(func() { queues, astray = g.numbers(), g.unroutable }); err != nil {
		return 0, err
	}
	if astray {
		select {
		case <-time.After(min(limit, astrayTime)):
		case <-ctx.Done():
		}
	}
	return settleQueues(ctx, g.gates, queues, limit)
}

// settleQueues waits, not longer than limit, until nothing is left in the accept queues, and
// returns how much still is.
func settleQueues(
	ctx context.Context, gates map[string]Gate, queues map[string][]int, limit time.Duration,
) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for name, numbers := range ordered(queues) {
		if gates[name].Kind() == kindShared {
			continue // the same queue serves on
		}
		for _, number := range numbers {
			if gates[name].Live() == number {
				continue // the config has lost this listener: nobody else gets its connections
			}
			settled, bad := gates[name].Settle(ctx, number)
			if bad != nil {
				err = errors.Join(err, fmt.Errorf("listener %q: %w", name, bad))
			}
			left += settled.Left
		}
	}
	return left, err
}
