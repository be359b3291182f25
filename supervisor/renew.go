package supervisor

import (
	"context"
	"fmt"
	"slices"
)

// renew gives an adopted live generation that has gone astray a successor of the same plan, behind
// listeners of this daemon's own, proved like any other. The old workers serve until it does, and
// then finish. When it fails they serve on.
func (c *change) renew() error {
	needed := false
	if err := c.s.do(func() {
		live := c.s.live
		if needed = live != nil && live.astray && !slices.ContainsFunc(live.plan.listeners(), live.unknown); needed {
			c.inherits = true
			c.kind, c.from, c.to, c.warm, c.committed = Reload, c.s.live, nil, false, false
			c.plan = c.from.plan
		}
	}); err != nil || !needed {
		return err
	}
	c.s.decided() // the site serves
	if err := c.succeed(); err != nil {
		err = fmt.Errorf("the workers that an earlier daemon has started serve on; their successors fail: %w", err)
		return c.abandon(err)
	}
	if c.background(c.to) {
		if err := c.step(stepFollow, c.startBackground); err != nil {
			c.warn("%v", err)
		}
	}
	if err := c.step(stepSettle, func(ctx context.Context) (string, error) {
		return c.settle(ctx, c.from)
	}); err != nil {
		return err
	}
	return c.letGo()
}

// succeed boots and proves the successor, and turns the gates to it.
func (c *change) succeed() error {
	if c.shared() {
		if err := c.step(stepPreflight, c.preflight); err != nil {
			return err
		}
	}
	if err := c.step(stepBoot, c.boot); err != nil {
		return err
	}
	if err := c.step(stepProve, func(ctx context.Context) (string, error) { return c.prove(ctx, c.to) }); err != nil {
		return err
	}
	return c.step(stepCutover, c.cutover)
}
