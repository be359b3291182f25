package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/plain"
)

// Recycle says when a worker of a process is replaced although it serves, such as one that leaks
// memory. A field that is 0 sets no limit.
type Recycle struct {
	Memory   uint64        `json:"memory,omitempty"`   // bytes, of a worker with everything that it has started
	Every    time.Duration `json:"every,omitempty"`    // age
	Requests uint64        `json:"requests,omitempty"` // that it has begun to answer
	Interval time.Duration `json:"interval"`           // between two measurements of memory and requests
}

// recycler is who asks for the restarts that a process's limits make.
const recycler = "recycling"

// recycleSpread is the largest part of its age and of its number of requests that a worker is
// replaced early: workers that were started together do not reach their limits together.
const recycleSpread = 0.1

// recycling replaces workers of the live generation that have reached a limit of their process, one
// after the other and never during a change. What it knows is not in the state file: the next
// daemon measures again.
type recycling struct {
	*core
	owner  *Supervisor
	round  *recycleRound // that is due or under way; nil = none
	places map[string]*recyclePlace
	noted  []Trouble // limits without an effect, and workers that stay above one
}

// recycleRound is one look at all workers that have limits. Owned by Run.
type recycleRound struct{ timer *time.Timer }

// recyclePlace is what is remembered of an instance, such as web.0. Owned by Run.
type recyclePlace struct {
	of     *instance
	turn   int     // of the worker that the fields to the next blank line are about
	spread float64 // from 0 to recycleSpread
	before uint64  // requests of earlier workers in the same place
	first  uint64  // bytes at its first measurement; 0 = none yet, alreadyTried = it has been due before

	tries int // replacements since a worker was within its limits
	last  time.Time
	heavy bool // the last one was for its memory
}

func newRecycling(s *Supervisor) recycling {
	return recycling{core: s.core, owner: s, places: make(map[string]*recyclePlace)}
}

// check sees to it that a look at the workers is due if any has limits: none during a change, or
// while the app is locked for a run. An app without limits costs nothing.
func (rc *recycling) check() {
	list := rc.limited()
	switch {
	case len(list) == 0 && rc.round != nil:
		rc.round.timer.Stop()
		rc.round = nil
	case len(list) > 0 && rc.round == nil:
		r := new(recycleRound)
		r.timer = time.AfterFunc(rc.wait(list), func() {
			rc.enter(recycler)
			rc.post(func() { rc.begin(r) })
		})
		rc.round = r
	}
}

// limited returns the workers that have limits.
func (rc *recycling) limited() (list []*instance) {
	if rc.owner.live == nil || rc.owner.change != nil || rc.owner.admission.lease != nil || rc.owner.stopping ||
		rc.owner.leaving {
		return nil
	}
	for _, in := range rc.owner.live.instances {
		if in.proc.Recycle != nil && in.serves() && in.wanted {
			list = append(list, in)
		}
	}
	return list
}

// wait returns the time until the next look: an age needs none before it is reached.
func (rc *recycling) wait(list []*instance) time.Duration {
	wait := time.Duration(-1)
	for _, in := range list {
		next := in.proc.Recycle.Interval
		if limits := in.proc.Recycle; limits.Memory == 0 && limits.Requests == 0 {
			place := rc.place(in)
			next = max(limits.Interval, place.early(limits.Every)-time.Since(in.born), place.pause())
		}
		if wait < 0 || next < wait {
			wait = next
		}
	}
	return wait
}

// place returns what is known of an instance.
func (rc *recycling) place(in *instance) *recyclePlace {
	p := rc.places[in.String()]
	if p == nil {
		p = new(recyclePlace)
		rc.places[in.String()] = p
	}
	if p.of != in || p.turn != in.turn {
		p.of, p.turn, p.spread, p.before, p.first = in, in.turn, recycleSpread*rc.os.chance(), 0, 0
		if !p.heavy {
			p.tries = 0 // a new worker has no age and no requests
		}
		if in.turn > 1 { // a dead worker of the same instance has counted in the same files
			p.before = unknownCount
		}
	}
	return p
}

// unknownCount stands for a number of requests that was not read yet.
const unknownCount = ^uint64(0)

// alreadyTried stands for the first measurement of a worker whose replacement has failed: that it
// grows does not help its successor.
const alreadyTried = ^uint64(0)

// early returns an age a little below the limit.
func (p *recyclePlace) early(limit time.Duration) time.Duration {
	return limit - time.Duration(p.spread*float64(limit))
}

// pause returns how long the place still has to wait for its next replacement. One that did not
// help, or failed, is not repeated at once.
func (p *recyclePlace) pause() time.Duration {
	if p.tries == 0 {
		return 0
	}
	return replacementWait(p.tries-1) - time.Since(p.last)
}

// leaks reports whether a worker has grown by a quarter of its limit since its first measurement. Its
// predecessor was replaced with reason then, even if the worker was above the limit when it was first
// measured, and there is nothing to wait for.
func (p *recyclePlace) leaks(m *measured) bool {
	limit := m.in.proc.Recycle.Memory
	return m.heavy() && m.memory-min(p.first, m.memory) >= limit/4
}

// measured is a worker that was looked at.
type measured struct {
	in   *instance
	turn int
	w    process

	place    string // under which its requests are counted
	memory   uint64 // bytes; 0 = unknown
	counts   bool   // whether it counts its requests
	requests uint64
}

// begin looks at all workers that have limits. That reads many files, so the owner does not wait.
func (rc *recycling) begin(r *recycleRound) {
	if rc.round != r {
		return
	}
	var list []*measured
	for _, in := range rc.limited() {
		list = append(list, &measured{in: in, turn: in.turn, w: in.w, place: in.place})
	}
	rc.async(func() {
		rc.measure(list)
		rc.enter(recycler)
		rc.post(func() { rc.take(r, list) })
	})
}

// measure fills in the figures for which there is a limit.
func (rc *recycling) measure(list []*measured) {
	var workers []process
	var weighed []*measured
	places := make(map[string]bool)
	for _, m := range list {
		if m.in.proc.Recycle.Memory > 0 {
			workers, weighed = append(workers, m.w), append(weighed, m)
		}
		if m.in.proc.Recycle.Requests > 0 && m.place != "" {
			places[m.place] = true
		}
	}
	if len(workers) > 0 {
		for i, bytes := range rc.os.memory(workers) {
			weighed[i].memory = bytes
		}
	}
	if len(places) == 0 {
		return
	}
	report, err := rc.owner.counts.read(places)
	if err != nil {
		rc.log.Warn("count the requests of workers that are recycled", zap.Error(err))
	}
	for _, m := range list {
		if r := report.Places[m.place]; places[m.place] && r != nil {
			m.counts, m.requests = r.Counting, r.Started
		}
	}
}

// take replaces the first worker that has reached a limit. The others have their turn after it.
func (rc *recycling) take(r *recycleRound, list []*measured) {
	if rc.round != r {
		return
	}
	rc.round, rc.noted = nil, nil
	due := rc.limited()
	var chosen *measured
	var why string
	for _, m := range list {
		if m.turn != m.in.turn || !slices.Contains(due, m.in) {
			continue
		}
		rc.noteUnknown(m)
		p := rc.place(m.in)
		if p.first == 0 {
			p.first = m.memory
		}
		reached := p.reached(m)
		switch {
		case reached == "":
			p.tries = 0
		case chosen == nil && (p.pause() <= 0 || p.leaks(m)):
			chosen, why = m, reached
		case p.pause() > 0:
			rc.note(m, fmt.Sprintf("%s; superctl replaces it again in %s", reached, plain.Duration(p.pause())))
		}
	}
	if chosen != nil {
		rc.replace(chosen.in, why, chosen.heavy())
	}
}

// heavy reports whether a worker has reached its limit of memory.
func (m *measured) heavy() bool {
	limit := m.in.proc.Recycle.Memory
	return limit > 0 && m.memory >= limit
}

// noteUnknown notes the limits of a worker whose figure is not known.
func (rc *recycling) noteUnknown(m *measured) {
	limits := m.in.proc.Recycle
	if limits.Memory > 0 && m.memory == 0 {
		rc.note(m, "recycle.memory has no effect: its memory cannot be measured")
	}
	if limits.Requests > 0 && !m.counts {
		rc.note(m, "recycle.requests has no effect: its requests are not counted")
	}
}

// note adds what the status says of a worker until the next measurement.
func (rc *recycling) note(m *measured, why string) {
	rc.noted = append(rc.noted, Trouble{Of: m.in.String(), Since: m.in.since, Why: why})
}

// troubles returns the limits that have no effect and the workers that stay above one, for the status.
func (rc *recycling) troubles() []Trouble { return rc.noted }

// reached says which limit a worker has reached; "" = none.
func (p *recyclePlace) reached(m *measured) string {
	limits := m.in.proc.Recycle
	if p.before == unknownCount {
		p.before = m.requests
	}
	served, age := m.requests-min(p.before, m.requests), time.Since(m.in.born)
	switch {
	case m.heavy():
		return fmt.Sprintf("%s uses %s of memory, and recycle.memory is %s", m.in, mebibytes(m.memory), mebibytes(limits.Memory))
	case limits.Requests > 0 && served >= limits.Requests-uint64(p.spread*float64(limits.Requests)):
		return fmt.Sprintf("%s has had %d requests, and recycle.requests is %d%s", m.in, served, limits.Requests,
			whyEarly(served < limits.Requests))
	case limits.Every > 0 && age >= p.early(limits.Every):
		return fmt.Sprintf("%s has run for %s, and recycle.every is %s%s", m.in, plain.Duration(age), plain.Duration(limits.Every),
			whyEarly(age < limits.Every))
	}
	return ""
}

// whyEarly says why a worker is replaced that is below its limit.
func whyEarly(below bool) string {
	if !below {
		return ""
	}
	return fmt.Sprintf(", less up to %g %% at random", 100*recycleSpread)
}

func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

// replace begins to replace a worker, as a restart does: its successor proves itself first. Where
// several instances accept from one listener, none of them can be stopped alone without losing
// requests, so all are replaced.
func (rc *recycling) replace(in *instance, why string, heavy bool) {
	p := rc.place(in)
	if p.tries > 0 {
		why += fmt.Sprintf("; the last attempt to replace it was %s ago", plain.Duration(time.Since(p.last)))
	}
	p.tries, p.last, p.heavy, p.first = p.tries+1, time.Now(), heavy, alreadyTried
	req := Request{Kind: Restart, Process: in.proc.Name, Who: recycler, Cause: why, Recycle: true}
	if len(in.proc.Listen) == 0 || rc.owner.live.apart(in.proc.Name) && rc.owner.demand.wanted(in.proc) > 1 {
		req.Instance = &in.index
	}
	rc.log.Info("recycle a worker", zap.String("process", req.Process), zap.String("why", why))
	if err := rc.owner.admission.beginOwn(req); err != nil {
		rc.log.Error("recycle a worker", zap.String("process", req.Process), zap.Error(err))
	}
}

// yieldError ends a recycling that a change by a user meets before it has replaced anything.
type yieldError struct{ to string }

func (e *yieldError) Error() string { return "given up for a change by " + e.to }

func yielded(err error) bool {
	var y *yieldError
	return errors.As(err, &y)
}

// yield has a recycling make way for a change by a user, at once if it has replaced nothing yet. The
// next measurement asks for it again.
func (c *change) yield(to string) {
	if slices.Contains([]string{beforeSteps, stepResolve, stepPreflight, stepBoot, stepProve}, c.stepName) {
		c.cancel(&yieldError{to})
	}
}
