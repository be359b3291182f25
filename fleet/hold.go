package fleet

import (
	"cmp"
	"context"

	"superctl/api"
)

// Hold takes the lease of all hosts, calls held, and keeps the leases until ctx ends or one of them
// is lost. It returns why it could not take or keep them.
func Hold(ctx context.Context, plan Plan, t Transport, limits Limits, held func()) error {
	r := newRun(ctx, plan, t, limits, func(Progress) {})
	r.table = holdTable(held)
	r.lease()
	r.loop(ctx)
	r.end(func() {})
	return r.failure
}

// holdTable returns the actions of Hold.
func holdTable(held func()) actions {
	t := make(actions)
	t.row(leasing, [kinds]action{
		answered: never, leased: func(r *run, ev event) {
			if r.leaseOthers(ev.host) {
				held()
			}
		},
		leaseEnded: loseHeld, installed: never, stepped: never, ready: never, present: never, ended: never,
		returned: never, tidied: never, interrupted: (*run).finish, overdue: ignore,
	})
	t.atTheEnd()
	return t
}

// loseHeld ends a Hold: a lease was refused or lost.
func loseHeld(r *run, ev event) {
	r.fail(api.ExitAborted, on(ev.host, cmp.Or(ev.err, errLeaseEnded)))
	r.phase = over
}
