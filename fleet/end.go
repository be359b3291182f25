package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"superctl/api"
)

// tidyTime limits the removal of old releases.
const tidyTime = time.Minute

// tidy removes old releases, as a deploy on one host does.
func (r *run) tidy() {
	r.enter(tidying, tidyTime)
	if r.Bundle == nil {
		r.phase = over
		return
	}
	for _, m := range r.members {
		if m.state != Done {
			m.settled = true
			continue
		}
		r.begin(tidyTime, func(ctx context.Context) event {
			var ignored any
			return event{kind: tidied, host: m, err: ask(ctx, r.transport, m.name, &ignored, "prune", "--json")}
		})
	}
}

func (r *run) noteTidied(ev event) {
	if ev.err != nil {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: old releases were not removed: %v", ev.host.name, ev.err))
	}
	if r.settle(ev.host) {
		r.phase = over
	}
}

func (r *run) finish(event) { r.phase = over }

// conclusion reports a run that is over.
type conclusion struct{ *run }

// fill fills in the result.
func (r conclusion) fill() {
	res := r.result
	res.Warnings = r.warnings
	for _, m := range r.members {
		h := HostResult{Host: m.name, State: m.state, Outcome: m.outcome, Release: r.liveOn(m)}
		if m.before != nil {
			h.Before = m.before.Release
		}
		if m.err != nil {
			h.Error = m.err.Error()
		}
		if m.outcome != nil {
			res.Changed = res.Changed || m.outcome.Changed && m.state == Done
			for _, w := range m.outcome.Warnings {
				res.Warnings = append(res.Warnings, m.name+": "+w)
			}
		}
		res.Hosts = append(res.Hosts, h)
	}
	for _, name := range r.Without {
		res.Hosts = append(res.Hosts, HostResult{Host: name, State: Behind, Error: "left out by --without"})
	}
	behind := slices.ContainsFunc(res.Hosts, func(h HostResult) bool { return h.State == Behind || h.State == Unknown })
	res.Exit, res.Result = r.exit, api.Aborted
	switch {
	case r.failure == nil && behind:
		res.Exit, res.Result = api.ExitBehind, api.Done
	case r.failure == nil:
		res.Exit, res.Result = api.ExitDone, api.Done
	case r.told:
		res.Exit, res.Result = r.exitAfterWord()
	}
	if r.failure != nil {
		res.Error = r.failure.Error()
	}
	res.SkewSeconds = skew(r.members)
}

// exitAfterWord returns how a run ended that failed after the first word.
func (r conclusion) exitAfterWord() (int, api.Result) {
	exit, result := r.exit, api.Aborted
	if exit == api.ExitReverted {
		exit = api.ExitAborted
	}
	for _, m := range r.members {
		switch m.state {
		case Unknown, Stuck:
			return api.ExitBehind, api.Reverted
		case Reverted, Returned:
			exit, result = api.ExitReverted, api.Reverted
		case Done:
			if r.turned(m) {
				exit, result = api.ExitReverted, api.Reverted
			}
		default:
		}
	}
	return exit, result
}

// liveOn returns the release that is live on a host, as far as the run knows.
func (p *Plan) liveOn(m *member) string {
	switch {
	case m.state == Done:
		return p.Release
	case m.state == Unknown || m.state == Stuck || m.before == nil:
		return ""
	}
	return m.before.Release
}

// skew returns the time between the first and the last cutover of the hosts that turned together
// after the canary host, by their own clocks.
func skew(members []*member) float64 {
	var first, last time.Time
	n := 0
	for _, m := range members[min(1, len(members)):] {
		if m.outcome == nil {
			continue
		}
		for _, s := range m.outcome.Steps {
			if s.Name != api.StepCutover {
				continue
			}
			if n++; n == 1 || s.Began.Before(first) {
				first = s.Began
			}
			if s.Began.After(last) {
				last = s.Began
			}
		}
	}
	if n < 2 {
		return 0
	}
	return last.Sub(first).Seconds()
}
