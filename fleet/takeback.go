package fleet

import (
	"context"
	"errors"

	"superctl/api"
)

// takeBack ends a run that has failed after the first word: hosts that wait abort, and those that
// have turned go back to the release that they had.
func (r *run) takeBack(exit int, err error) {
	r.fail(exit, err)
	r.enter(returning, r.limits.TakeBack)
	for _, m := range r.members {
		if !m.told {
			m.change.close()
		}
	}
	for _, m := range r.members {
		switch {
		case m.told && !r.Keep && (!m.ended || r.turned(m)):
			r.takeBackOn(m) // its change may be on probation: this ends it
		case m.ended:
			m.settled = true
		}
	}
	r.settleReturning()
}

// turned reports whether a host may run the release because of this run.
func (p *Plan) turned(m *member) bool {
	switch {
	case m.before.Release == p.Release && p.Kind != api.Reload, p.Kind == api.Reload:
		return false // it ran the release before, or the same one with another config
	case m.outcome != nil:
		return m.outcome.Result == api.Done
	}
	return m.state != Behind
}

// takeBackOn takes back a host. That is idempotent: a host on which another release is live does
// nothing.
func (r *run) takeBackOn(m *member) {
	afterEnd := m.ended
	r.begin(r.limits.TakeBack, func(ctx context.Context) event {
		out, err := takeBackFrom(ctx, r.transport, m.name, r.Release, r.Run, r.By, m != r.canary(), afterEnd)
		return event{kind: returned, host: m, value: backing{out, afterEnd}, err: err}
	})
}

// backing is how an attempt to take back a host has ended.
type backing struct {
	outcome  *api.Outcome
	afterEnd bool // it began after the host's change had ended
}

// takeBackFrom rolls a host back if a release is live there. If wait is set it waits until the host
// is idle, and asks a host again that cannot be reached. A follower leaves it to another host to
// notify the team.
func takeBackFrom(
	ctx context.Context, t Transport, host, release, run, by string, follower, wait bool,
) (out *api.Outcome, err error) {
	err = persist(ctx, func(ctx context.Context) (again bool, err error) {
		out = &api.Outcome{}
		words := []string{"rollback", "--from", release, "--run", run, "--by", by, "--json"}
		if follower {
			words = append(words, "--follower")
		}
		err = ask(ctx, t, host, out, words...)
		if out.Error != "" {
			err = &ExitError{exitOf(err), out.Error}
		}
		return wait && exitOf(err) == api.ExitBusy, err
	})
	return out, err
}

// noteReturned records that a host was taken back. What was said while its change went on counts
// only if it has changed something: otherwise the host may have cut over just afterwards.
func (r *run) noteReturned(ev event) {
	m, b := ev.host, ev.value.(backing)
	changed := ev.err == nil && b.outcome != nil && b.outcome.Changed
	switch {
	case m.settled:
		return
	case changed || ev.err == nil && b.afterEnd:
		m.back, m.err = true, nil
		r.note(m, Returned, "")
	case b.afterEnd:
		m.err = ev.err
		r.note(m, Stuck, m.err.Error())
	case m.ended: // the early attempt came before the end
		r.takeBackOn(m)
		return
	default:
		return // the end of its change is still to come
	}
	m.settled = m.ended
	r.settleReturning()
}

// noteEndReturning records the end of a change while the run takes back.
func (r *run) noteEndReturning(ev event) {
	m := ev.host
	exit := r.noteOutcome(m, ev)
	switch {
	case !m.told:
		m.err, m.settled = nil, true
		r.note(m, Aborted, "")
	case m.back:
		m.err, m.settled = nil, true
	case m.outcome != nil && exit != api.ExitDone:
		m.settled = true
		r.note(m, stateOfResult(m.outcome.Result), m.err.Error())
	case r.Keep || !r.turned(m):
		m.settled = true
		r.note(m, Done, "")
	default:
		r.takeBackOn(m)
		return
	}
	r.settleReturning()
}

func (r *run) settleReturning() {
	for _, m := range r.members {
		if !m.settled {
			return
		}
	}
	r.phase = over
}

// giveUpReturning ends the run although a host may still run the release.
func (r *run) giveUpReturning(event) {
	for _, m := range r.members {
		if !m.settled {
			if m.err == nil {
				m.err = errors.New("it did not answer in time")
			}
			r.note(m, Stuck, m.err.Error())
		}
	}
	r.phase = over
}
