package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"superctl/api"
)

// confirm asks all hosts that have not got the word whether they are still there, before the next
// ones get it: ssh takes seconds to notice a cut cable, and a run that turns hosts meanwhile leaves
// the one behind it on another release. It is one message over each connection.
func (r *run) confirm(wave []*member) {
	r.enter(confirming, r.limits.Confirm)
	r.wave = wave
	for _, m := range r.members {
		if m.settled = m.told; !m.told {
			m.change.say(stillHere)
		}
	}
}

func (r *run) notePresent(ev event) {
	if r.settle(ev.host) {
		r.turn(r.wave)
	}
}

// noteLeaseEnd ends the run unless a host has the word.
func (r *run) noteLeaseEnd(ev event) {
	if !r.told {
		r.refuseLease(ev)
	}
}

// noteAbsent ends the run: a host that was ready has ended, or its connection.
func (r *run) noteAbsent(ev event) {
	if r.told {
		r.noteEnd(ev)
		return
	}
	r.refusePrepared(ev)
}

// loseAbsent ends the run: a host does not answer, although its connection is there.
func (r *run) loseAbsent(ev event) {
	if !r.told {
		r.abortOverdue(ev)
		return
	}
	i := slices.IndexFunc(r.members, func(m *member) bool { return !m.settled })
	r.members[i].err = errors.New("it did not answer before its word")
	r.takeBack(api.ExitUnreachable, on(r.members[i], r.members[i].err))
}

// turn gives some hosts the word, all at once: their connections are open, so that they cut over
// within the time of one message.
func (r *run) turn(wave []*member) {
	r.enter(turning, r.limits.Turn)
	r.wave, r.told = wave, true
	for _, m := range wave {
		m.told = true
		m.change.say("go")
	}
	for _, m := range wave {
		r.note(m, Turning, "")
	}
}

// noteEnd records the end of a host's change.
func (r *run) noteEnd(ev event) {
	m := ev.host
	exit := r.noteOutcome(m, ev)
	switch {
	case !m.told: // it was ready, and no longer is
		if m.err == nil {
			m.err = errors.New("the change ended before the cutover")
		}
		r.note(m, Refused, m.err.Error())
		r.takeBack(exit, on(m, m.err))
	case m.outcome == nil:
		r.note(m, Unknown, "asking it again: "+fmt.Sprint(m.err))
		r.askAgain(m)
	case exit == api.ExitDone:
		m.err = nil
		r.note(m, Done, "")
		r.settleWave(m)
	default:
		r.note(m, stateOfResult(m.outcome.Result), m.err.Error())
		r.takeBack(exit, on(m, m.err))
	}
}

func stateOfResult(res api.Result) State {
	if res == api.Reverted {
		return Reverted
	}
	return Refused
}

// lostTime is how long a host is asked again that cannot be reached. A run over a cut cable ends
// within 20 s: 6 s until ssh notices it, this time for the question, and this time to take it back.
const lostTime = 5 * time.Second

// retryTime is the pause before a host that is lost or busy is asked again.
const retryTime = time.Second

// askAgain asks a host that was lost after its word how its change has ended.
func (r *run) askAgain(m *member) {
	r.begin(r.limits.Turn, func(ctx context.Context) event {
		st, err := settledStatus(ctx, r.transport, m.name)
		return event{kind: answered, host: m, value: st, err: err}
	})
}

// settledStatus returns the status of a host once no change is in progress there.
func settledStatus(ctx context.Context, t Transport, host string) (st *api.Status, err error) {
	err = persist(ctx, func(ctx context.Context) (again bool, err error) {
		st, err = statusOf(ctx, t, host)
		if err == nil && st.Changing != nil {
			return true, fmt.Errorf("its change is still in step %s", st.Changing.Step)
		}
		return false, err
	})
	return st, err
}

// persist calls f until it succeeds or fails for good, which means without wanting to be called
// again. A host that is lost is called again for lostTime.
func persist(ctx context.Context, f func(context.Context) (again bool, err error)) error {
	var lostSince time.Time
	for {
		began := time.Now()
		again, err := f(ctx)
		switch {
		case err == nil:
			return nil
		case !isLost(err):
			lostSince = time.Time{}
		case lostSince.IsZero():
			lostSince = began
		}
		if !again && (lostSince.IsZero() || time.Since(lostSince) >= lostTime) {
			return err
		}
		select {
		case <-time.After(retryTime):
		case <-ctx.Done():
			return err
		}
	}
}

// noteAnswer records what a host says that was lost after its word.
func (r *run) noteAnswer(ev event) {
	m := ev.host
	if ev.err != nil {
		m.err = ev.err
		r.note(m, Unknown, m.err.Error())
	} else if st := ev.value.(*api.Status); st.Release == r.Release && r.Release != "" {
		m.err = nil
		r.note(m, Done, "it was lost after its word, and has done it")
	} else {
		m.err = errors.New("it was lost before it got its word")
		r.note(m, Behind, m.err.Error())
	}
	r.settleWave(m)
}

// settleWave goes on once all hosts that have the word are done.
func (r *run) settleWave(m *member) {
	m.settled = true
	if slices.ContainsFunc(r.wave, func(m *member) bool { return !m.settled }) {
		return
	}
	canary := r.canary()
	if canary.state == Behind || canary.state == Unknown {
		// No other host has turned, and the release is not proved.
		r.takeBack(api.ExitUnreachable, on(canary, canary.err))
		return
	}
	rest := slices.DeleteFunc(slices.Clone(r.members), func(m *member) bool { return m.told })
	switch {
	case len(rest) == 0:
		r.tidy()
	case r.wave[0] == canary && r.Bake > 0:
		r.say("%s is done; the others wait for %s", canary.name, r.Bake)
		r.enter(baking, r.Bake)
	default:
		r.nextWave(rest)
	}
}

func (r *run) nextWave(rest []*member) {
	if r.Batch > 0 {
		rest = rest[:min(r.Batch, len(rest))]
	}
	r.confirm(rest)
}

// askBaked looks at the canary host at the end of its time.
func (r *run) askBaked(event) {
	r.enter(baking, r.limits.Reach)
	if r.baked { // it has not answered
		r.takeBack(api.ExitReverted, on(r.canary(), errors.New("it does not answer after its time as the canary host")))
		return
	}
	r.baked = true
	r.begin(r.limits.Reach, func(ctx context.Context) event {
		st, err := statusOf(ctx, r.transport, r.canary().name)
		return event{kind: answered, host: r.canary(), value: st, err: err}
	})
}

func (r *run) noteBaked(ev event) {
	m, err := ev.host, ev.err
	if err == nil {
		switch st := ev.value.(*api.Status); {
		case st.Release != r.Release:
			err = fmt.Errorf("%s is live there now", orNone(st.Release))
		case st.Health != api.HealthOK:
			err = fmt.Errorf("%s is %s after %s: %s", r.Release, st.Health, r.Bake, st.Reason)
		}
	}
	if err != nil {
		m.err = err
		r.takeBack(api.ExitReverted, on(m, err))
		return
	}
	r.nextWave(slices.DeleteFunc(slices.Clone(r.members), func(m *member) bool { return m.told }))
}

// loseTold gives up waiting for the hosts that have the word.
func (r *run) loseTold(event) {
	var late []*member
	for _, m := range r.wave {
		if !m.settled {
			m.err = fmt.Errorf("it has not ended within %s", r.limits.Turn)
			r.note(m, Unknown, m.err.Error())
			late = append(late, m)
		}
	}
	for _, m := range late {
		r.settleWave(m)
	}
}

// interruptConfirming ends a run without a word, and goes on otherwise.
func (r *run) interruptConfirming(ev event) {
	if r.told {
		r.warnInterrupted(ev)
		return
	}
	r.abortInterrupted(ev)
}

// warnInterrupted says what goes on: a host has the word, and to stop here would leave a mix.
func (r *run) warnInterrupted(event) {
	var names []string
	for _, m := range r.members {
		if m.told {
			names = append(names, m.name)
		}
	}
	r.say("interrupted after the word: %s cannot be stopped any more, so the run goes on until all hosts are on one "+
		"release; Ctrl-C again leaves it as it is", list(names))
}

// list joins names for a sentence.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
