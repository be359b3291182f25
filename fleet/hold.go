package fleet

import (
	"context"
	"errors"
)

// Hold takes the lease of all hosts, calls held, and keeps the leases until ctx ends or one of them
// is lost. It returns why it could not take or keep them.
func Hold(ctx context.Context, plan Plan, t Transport, limits Limits, held func()) error {
	r := newRun(ctx, plan, t, limits, func(Progress) {})
	defer r.end()
	r.leaseOf(r.canary())
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-r.events:
			if ev.kind == leaseEnded {
				if ev.err == nil {
					ev.err = errors.New("the lock has ended: its daemon was stopped or upgraded")
				}
				return on(ev.host, ev.err)
			}
			if ev.host == r.canary() {
				for _, m := range r.members[1:] {
					r.leaseOf(m)
				}
			}
			if n++; n == len(r.members) {
				held()
			}
		}
	}
}
