package supervisor

import (
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
)

// traffic is what the users of both releases of a change got: of the old one until the cutover, of the
// new one from then to the end of the probation. The counts are read at these three moments only.
type traffic struct {
	old, new                   *generation
	began, closed, turned, end glimpse // closed: of the old generation; turned: of the new one
}

// glimpse is what all workers had counted at one moment.
type glimpse struct {
	at time.Time // zero = the counts were not read
	looked
}

// trafficCount takes the counts of a change's traffic.
type trafficCount struct{ *change }

func (c *change) count() trafficCount { return trafficCount{c} }

func (tc trafficCount) glimpse() glimpse {
	return glimpse{at: time.Now(), looked: tc.owner.counts.lookAtAll()}
}

// atBegin takes the counts at the begin of a change.
func (tc trafficCount) atBegin() {
	if tc.from == nil || !tc.owner.counts.counts() || !turnsOver(tc.kind) {
		return
	}
	tc.traffic.old, tc.traffic.began = tc.from, tc.glimpse()
}

// beforeTurn takes the counts right before the workers are replaced one after the other, or before
// connections wait for the new ones.
func (tc trafficCount) beforeTurn() {
	if !tc.traffic.began.at.IsZero() {
		tc.traffic.closed = tc.glimpse()
	}
}

// afterTurn takes the counts after the cutover.
func (tc trafficCount) afterTurn() {
	t := &tc.traffic
	if t.began.at.IsZero() {
		return
	}
	t.new, t.turned = tc.to, tc.glimpse()
	if t.closed.at.IsZero() {
		t.closed = t.turned
	}
}

// atEnd takes the counts when the new generation is not watched any more.
func (tc trafficCount) atEnd() {
	t := &tc.traffic
	if !t.turned.at.IsZero() && t.end.at.IsZero() {
		t.end = tc.glimpse()
	}
}

// report returns what was counted, by process; nil if the change did not get that far.
func (t *traffic) report(plan *Plan) (list []api.ProcessTraffic) {
	if t.end.at.IsZero() {
		return nil
	}
	for i := range plan.Processes {
		p := &plan.Processes[i]
		if len(p.Listen) == 0 {
			continue
		}
		list = append(list, api.ProcessTraffic{
			Process: p.Name, Before: trafficOf(t.old, p.Name, &t.began, &t.closed),
			After: trafficOf(t.new, p.Name, &t.turned, &t.end),
		})
	}
	return list
}

// trafficOf returns what a process has counted in a generation between two glimpses; nil if the
// generation has no such process, or nothing is known.
func trafficOf(g *generation, process string, from, to *glimpse) *api.Traffic {
	if p := g.plan.process(process); p == nil || len(p.Listen) == 0 {
		return nil
	}
	t := &api.Traffic{Release: g.plan.Release.Name, Seconds: to.at.Sub(from.at).Seconds()}
	before, after := from.sum(g, process), to.sum(g, process)
	switch {
	case before == nil && after == nil:
		t.NotCounted, t.Server = true, g.plan.process(process).Server
		return t
	case after == nil: // its workers are gone, with their counts
		return nil
	case before == nil:
		before = &requests.Counts{}
	}
	c := after.Since(before)
	t.Requests, t.Status5xx, t.Broken = c.Ended(), c.Answered[4], c.Broken
	figures := asRequests(&c)
	t.P50, t.P99 = figures.P50, figures.P99
	t.Durations = c.Durations.Doubling(time.Millisecond)
	return t
}
