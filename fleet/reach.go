package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"superctl/api"
)

// reach asks all hosts for their status.
func (r *run) reach() {
	r.enter(reaching, r.limits.Reach)
	for _, m := range r.members {
		r.begin(r.limits.Reach, func(ctx context.Context) event {
			st, err := statusOf(ctx, r.transport, m.name)
			return event{kind: answered, host: m, value: st, err: err}
		})
	}
}

func statusOf(ctx context.Context, t Transport, host string) (*api.Status, error) {
	st := &api.Status{}
	return st, ask(ctx, t, host, st, "status", "--json")
}

func (r *run) noteStatus(ev event) {
	m := ev.host
	m.err = ev.err
	if m.err == nil {
		m.before = ev.value.(*api.Status)
		m.err = r.unfit(m.before)
	}
	if m.err == nil {
		r.note(m, Reached, "")
	} else {
		r.note(m, Refused, m.err.Error())
	}
	if !r.settle(m) {
		return
	}
	if err := r.allFit(); err != nil {
		r.abort(r.exit, err)
		return
	}
	r.lease()
}

// busyError is a host that another change or another run has.
type busyError struct{ text string }

func (e *busyError) Error() string { return e.text }

// unfit returns why a run cannot begin on a host.
func (p *Plan) unfit(st *api.Status) error {
	if err := busy(st); err != nil {
		return err
	}
	if healthOf(st) != api.HealthOK && st.Release != "" && !p.Degraded && p.Kind != api.Rollback {
		return fmt.Errorf("it is %s: %s; use --degraded to begin anyway", healthOf(st), st.Reason)
	}
	return nil
}

// busy returns why another change or another run has a host; nil if none has.
func busy(st *api.Status) error {
	switch {
	case st.Lock != nil:
		return &busyError{st.Lock.String()}
	case st.Changing != nil:
		busy := api.BusyError{Changing: *st.Changing}
		return &busyError{busy.Error()}
	}
	return nil
}

// healthOf returns the health of a host. Maintenance that was asked for does not count: a deploy behind
// the page is what it is for.
func healthOf(st *api.Status) string {
	if st.Maintenance != nil {
		return cmp.Or(st.Maintenance.Health, st.Health)
	}
	return st.Health
}

// allFit returns why the run cannot begin, with every host that stands in its way.
func (r *run) allFit() error {
	hosts := make(map[string][]string) // by what stands in the way
	var reasons []string
	r.exit = api.ExitAborted
	for _, m := range r.members {
		if m.err == nil {
			continue
		}
		reason := m.err.Error()
		if len(hosts[reason]) == 0 {
			reasons = append(reasons, reason)
		}
		hosts[reason] = append(hosts[reason], m.name)
		var busy *busyError
		switch {
		case isLost(m.err) || exitOf(m.err) == api.ExitUnreachable:
			r.exit = api.ExitUnreachable
		case errors.As(m.err, &busy) && r.exit == api.ExitAborted:
			r.exit = api.ExitBusy
		}
	}
	if len(reasons) > 0 {
		for i, reason := range reasons {
			reasons[i] = list(hosts[reason]) + ": " + reason
		}
		return errors.New(strings.Join(reasons, "; "))
	}
	if r.Kind != api.Rollback {
		return nil
	}
	first := r.canary() // all have answered
	for _, m := range r.members[1:] {
		if m.before.Release != first.before.Release {
			return fmt.Errorf("%s runs %s and %s runs %s: superctl @%s status shows the mix, and back or finish ends it",
				first.name, orNone(first.before.Release), m.name, orNone(m.before.Release), r.Env)
		}
	}
	return nil
}

func orNone(release string) string {
	if release == "" {
		return "none"
	}
	return release
}

// lease takes the lease of the canary host and then those of the others, so that of two runs one
// gets it and the other begins nothing.
func (r *run) lease() {
	r.enter(leasing, r.limits.Reach)
	r.leaseOf(r.canary())
}

func (r *run) leaseOf(m *member) {
	m.lease = newTalk()
	args := []string{
		"lock", "--run", r.Run, "--by", r.By, "--why", r.Why, "--heartbeat", r.limits.Dead.String(),
	}
	r.gone.Go(func() {
		err := r.hold(r.ctx, m, m.lease, args, &lineWriter{f: func(string) { r.events <- event{kind: leased, host: m} }})
		r.events <- event{kind: leaseEnded, host: m, err: err}
	})
}

func (r *run) noteLease(ev event) {
	if r.leaseOthers(ev.host) {
		r.install()
	}
}

// leaseOthers records the lease of a host, takes those of the others after that of the canary host, and
// reports whether the run has them all.
func (r *run) leaseOthers(m *member) bool {
	r.note(m, Leased, "")
	if m == r.canary() {
		for _, m := range r.members[1:] {
			r.leaseOf(m)
		}
	}
	return r.settle(m)
}

// errLeaseEnded is why a lease ended that was not refused or lost.
var errLeaseEnded = errors.New("the lock has ended: its daemon was stopped or upgraded")

// refuseLease ends a run before its first word: another operator has the host, or it was lost.
func (r *run) refuseLease(ev event) {
	err := cmp.Or(ev.err, errLeaseEnded)
	ev.host.err = err
	r.note(ev.host, Refused, err.Error())
	exit := api.ExitAborted
	switch {
	case exitOf(err) == api.ExitBusy:
		exit = api.ExitBusy
	case isLost(err):
		exit = api.ExitUnreachable
	}
	r.abort(exit, on(ev.host, err))
}
