package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"superctl/api"
)

// prepare begins the change on the canary host, which alone runs the hooks with once = true, such as
// migrations. The others follow as soon as those are done.
func (r *run) prepare() {
	r.enter(preparing, 2*r.limits.Prepare)
	r.prepareOn(r.canary())
}

func (r *run) prepareOn(m *member) {
	m.change = newTalk()
	r.note(m, Preparing, "")
	args := r.command(m)
	r.gone.Go(func() {
		out, w := io.Pipe()
		outcome := make(chan *api.Outcome, 1)
		go func() {
			outcome <- listen(out,
				func(release string) { r.events <- event{kind: ready, host: m, value: release} },
				func() { r.events <- event{kind: present, host: m} },
				func(ev api.Event) { r.events <- event{kind: stepped, host: m, value: ev} })
		}()
		err := r.hold(r.work, m, m.change, args, w)
		_ = w.Close() // of a pipe: it does not fail
		r.events <- event{kind: ended, host: m, value: <-outcome, err: err}
	})
}

// command returns the command that prepares the change on a host.
func (r *run) command(m *member) []string {
	// While the others prepare and the canary host is on probation, a host waits.
	limit := 2*r.limits.Prepare + r.limits.Turn + r.Bake
	args := []string{string(r.Kind)}
	switch live := m.before.Release; r.Kind {
	case api.Rollback:
		args = append(args, "--from", live)
	case api.Switch:
		args = append(args, r.Release, "--expect", cmp.Or(live, "none"))
	default:
		args = append(args, "--expect", cmp.Or(live, "none"))
	}
	args = append(args, "--prepare="+limit.String(), "--heartbeat", r.limits.Dead.String(), "--run", r.Run, "--by", r.By,
		"--json")
	if m != r.canary() {
		args = append(args, "--follower")
	}
	if r.Force {
		args = append(args, "--force")
	}
	return append(args, r.Extra...)
}

// beforeTheWorkers are the steps until the hooks with once = true are done.
func beforeTheWorkers(step string) bool {
	return slices.Contains([]string{api.StepResolve, api.StepShare, api.StepInspect, api.StepBefore}, step)
}

func (r *run) noteStep(ev event) {
	m, step := ev.host, ev.value.(api.Event)
	r.observe(Progress{Host: m.name, State: m.state, Step: step.Step, Detail: step.Detail})
	if m == r.canary() && step.Type == "begin" && !beforeTheWorkers(step.Step) {
		r.prepareOthers()
	}
}

func (r *run) prepareOthers() {
	for _, m := range r.members[1:] {
		if m.change == nil {
			r.prepareOn(m)
		}
	}
}

func (r *run) noteReady(ev event) {
	m := ev.host
	m.release = cmp.Or(ev.value.(string), r.Release)
	r.note(m, Ready, "")
	if m == r.canary() {
		r.prepareOthers()
	}
	if !r.settle(m) {
		return
	}
	r.Release = r.canary().release
	r.result.Release = r.Release
	err := r.sameTrees(r.members, r.warn)
	for _, m := range r.members[1:] {
		if m.release != r.Release {
			err = fmt.Errorf("%s would make %s live, and %s %s: name the release", r.canary().name, orNone(r.Release), m.name,
				orNone(m.release))
		}
	}
	if err != nil {
		r.abort(api.ExitAborted, err)
		return
	}
	r.confirm(r.members[:1])
}

// refusePrepared ends a run before its first word: a host has refused the change, or what was
// prepared has failed, or the host was lost.
func (r *run) refusePrepared(ev event) {
	m := ev.host
	exit := r.noteOutcome(m, ev)
	if m.err == nil {
		m.err = errors.New("the change ended before the cutover")
	}
	r.note(m, Refused, m.err.Error())
	r.abort(exit, on(m, m.err))
}

// noteOutcome records how the change of a host has ended, and returns its exit code.
func (r *run) noteOutcome(m *member, ev event) int {
	m.ended = true
	m.outcome, _ = ev.value.(*api.Outcome)
	switch o := m.outcome; {
	case o != nil && o.Result == api.Done:
		return api.ExitDone
	case o != nil:
		m.err = errors.New(cmp.Or(o.Error, string(o.Result)))
		return o.Result.Exit()
	case isLost(ev.err):
		m.err = ev.err
		return api.ExitUnreachable
	case exitOf(ev.err) == api.ExitBusy:
		m.err = ev.err
		return api.ExitBusy
	}
	m.err = ev.err
	return api.ExitAborted
}

// abort ends a run before its first word: every host is told to abort what it prepares. The leases stay until
// the team is notified.
func (r *run) abort(exit int, err error) {
	r.fail(exit, err)
	r.enter(aborting, r.limits.Abort)
	for _, m := range r.members {
		m.change.close()
		if m.change == nil && m.state != Refused && m.state != Waiting {
			r.note(m, Aborted, "")
		}
	}
	r.stop()
	r.settleAborted()
}

// settleAborted ends the run once no host prepares any more.
func (r *run) settleAborted() {
	for _, m := range r.members {
		if m.change != nil && !m.ended {
			return
		}
	}
	r.phase = over
}

func (r *run) noteAborted(ev event) {
	if ev.kind != ended {
		return
	}
	r.noteOutcome(ev.host, ev)
	if ev.host.state != Refused {
		ev.host.err = nil // it ended because it was told to
		r.note(ev.host, Aborted, "")
	}
	r.settleAborted()
}

func (r *run) abortInterrupted(event) { r.abort(api.ExitAborted, errors.New("interrupted")) }

func (r *run) abortOverdue(event) {
	var late []string
	for _, m := range r.members {
		if !m.settled {
			late = append(late, m.name)
			m.err = errors.New("it did not answer in time")
		}
	}
	r.abort(api.ExitUnreachable, fmt.Errorf("%s did not answer in time", list(late)))
}

// giveUpAborting ends the run although a host has not said that it has aborted. It does so by
// itself: it has no word, and no sign of life any more.
func (r *run) giveUpAborting(event) {
	for _, m := range r.members {
		if m.change != nil && !m.ended {
			r.warnings = append(r.warnings, m.name+" has not confirmed that it aborted; it does so within "+
				r.limits.Dead.String())
		}
	}
	r.phase = over
}
