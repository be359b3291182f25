//go:build linux

package host

import (
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
)

// Window is how far back rates look. A shorter one would jump, a longer one would hide what has just
// begun.
const Window = 10 * time.Second

// Rates turn the totals of an app into what its users get now. Each app has its own; it is made with
// new and used by one goroutine.
type Rates struct{ samples []sample }

// sample is what was counted at one moment, by generation.
type sample struct {
	at time.Time
	of map[int]*counted
}

type counted struct {
	ended, failed uint64
	durations     requests.Histogram
}

// Rate is what the users of one generation got in the last Window.
type Rate struct {
	PerSecond float64 // requests that ended
	Failed    float64 // share of them with a 5xx, or without a complete answer by the server's fault
	// within which a half and 99 % of the complete answers were given; 0 = there were none
	P50, P99 time.Duration
}

// Add adds the figures of a moment. An app whose counts have fallen is another one: it starts again.
func (r *Rates) Add(now time.Time, m *api.Measures) {
	next := sample{at: now, of: make(map[int]*counted)}
	for i := range m.Requests {
		of := &m.Requests[i]
		if of.Generation == 0 {
			continue
		}
		c := next.of[of.Generation]
		if c == nil {
			c = new(counted)
			next.of[of.Generation] = c
		}
		c.add(of)
	}
	for len(r.samples) > 1 && now.Sub(r.samples[1].at) >= Window {
		r.samples = r.samples[1:]
	}
	r.samples = append(r.samples, next)
}

func (c *counted) add(of *api.ProcessRequests) {
	c.ended += of.Requests.Ended() + of.Requests.Lost
	c.failed += of.Requests.Status5xx + of.Requests.Broken + of.Requests.Lost
	durations, err := requests.FromCells(of.Durations)
	if err != nil {
		return // a newer daemon has another histogram: the latency is not known
	}
	for i, n := range durations {
		c.durations[i] += n
	}
}

// Of returns what the users of a generation got; false until there are two moments to compare.
func (r *Rates) Of(generation int) (Rate, bool) {
	if len(r.samples) < 2 {
		return Rate{}, false
	}
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	now := last.of[generation]
	if now == nil {
		return Rate{}, false
	}
	before := first.of[generation]
	if before == nil {
		before = new(counted) // the generation is newer
	}
	ended := now.ended - min(now.ended, before.ended)
	rate := Rate{PerSecond: float64(ended) / last.at.Sub(first.at).Seconds()}
	if ended > 0 {
		rate.Failed = float64(now.failed-min(now.failed, before.failed)) / float64(ended)
	}
	durations := now.durations
	for i, n := range before.durations {
		durations[i] -= min(n, durations[i])
	}
	rate.P50, rate.P99 = durations.Quantile(0.5), durations.Quantile(0.99)
	return rate, true
}
