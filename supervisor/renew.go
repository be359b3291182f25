package supervisor

import (
	"context"
	"fmt"
	"slices"
)

// renew gives an adopted live generation that is unroutable a successor of the same plan, behind
// listeners of this daemon's own, proved like any other. The old workers serve until it does, and
// then finish. When it fails they serve on.
func (a adoption) renew() error {
	needed := false
	if err := a.owner.do(func() {
		live := a.owner.live
		if needed = live != nil && live.unroutable &&
			!slices.ContainsFunc(live.plan.listeners(), live.unknown); needed {
			a.inherits = true
			a.kind, a.from, a.to, a.warm, a.committed = Reload, a.owner.live, nil, false, false
			a.plan = a.from.plan
		}
	}); err != nil || !needed {
		return err
	}
	a.owner.startup.decide() // the site serves
	// The next daemon would stop workers of a generation that the state file does not know.
	err := a.owner.journal.durable()
	if err == nil {
		err = a.succeed()
	}
	if err != nil {
		err = fmt.Errorf("the workers that an earlier daemon has started serve on; their successors fail: %w", err)
		return a.undo().abandon(err)
	}
	if a.background().any(a.to) {
		if err := a.step(stepFollow, a.background().follow); err != nil {
			a.warn("%v", err)
		}
	}
	if err := a.step(stepSettle, func(ctx context.Context) (string, error) {
		return a.settle(ctx, a.from)
	}); err != nil {
		return err
	}
	return a.retireOld()
}

// succeed boots and proves the successor, and turns the gates to it.
func (a adoption) succeed() error {
	if a.shared() {
		if err := a.step(stepPreflight, a.trial().preflight); err != nil {
			return err
		}
	}
	if err := a.step(stepBoot, a.boot); err != nil {
		return err
	}
	if err := a.step(stepProve, func(ctx context.Context) (string, error) { return a.prove(ctx, a.to) }); err != nil {
		return err
	}
	return a.step(stepCutover, a.cutover)
}
