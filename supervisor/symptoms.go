package supervisor

import (
	"fmt"
	"strconv"
	"time"

	"superctl/api"
	"superctl/supervisor/guard"
	"superctl/supervisor/requests"
)

// symptom is what shows that a release is bad: its errors, or its slow answers.
type symptom interface {
	// of returns the answers and those of them that have the symptom.
	of(c *requests.Counts) guard.Counts
	// report completes a report with what both releases have counted in the time that was judged.
	report(r *api.GuardReport, f guard.Facts, was, is *requests.Histogram)
	// sentence says the same to a person: "5xx 0.4 % -> 31 % (124 of 400 requests in 9 s; r41 had 3 of 812)".
	sentence(r *api.GuardReport, old string) string
	// name is such as "p95", or "" for errors.
	name() string
}

// errorsOf judges a release by its errors.
type errorsOf struct{}

func (errorsOf) name() string { return "" }

// of counts what has ended. What the client has aborted tells nothing of the release, and 1xx are
// WebSockets.
func (errorsOf) of(c *requests.Counts) guard.Counts {
	n := guard.Counts{Requests: c.Broken, Errors: c.Answered[4] + c.Broken, Broken: c.Broken}
	for _, answered := range c.Answered[1:] {
		n.Requests += answered
	}
	return n
}

func (errorsOf) report(r *api.GuardReport, f guard.Facts, _, _ *requests.Histogram) {
	r.Errors, r.OldErrors, r.Broken, r.OldBroken = f.New.Errors, f.Old.Errors, f.New.Broken, f.Old.Broken
}

func (errorsOf) sentence(r *api.GuardReport, old string) string {
	return fmt.Sprintf("%s %s -> %s (%d of %d requests in %d s; %s had %d of %d)", api.ErrorsName(r.Broken+r.OldBroken),
		percent(r.OldErrors, r.OldRequests), percent(r.Errors, r.Requests), r.Errors, r.Requests, r.Seconds,
		old, r.OldErrors, r.OldRequests)
}

// slowness judges a release by a quantile of its latency.
type slowness struct {
	quantile guard.Quantile
	limit    time.Duration
}

func (s slowness) name() string { return s.quantile.Name }

func (s slowness) of(c *requests.Counts) guard.Counts {
	n := c.Durations.Count()
	return guard.Counts{Requests: n, Errors: n - c.Durations.Within(s.limit)}
}

func (s slowness) report(r *api.GuardReport, f guard.Facts, was, is *requests.Histogram) {
	r.Of = s.quantile.Name
	r.Latency = &api.GuardLatency{
		Took: is.Quantile(s.quantile.Of).Seconds(), OldTook: was.Quantile(s.quantile.Of).Seconds(),
		Limit: s.limit.Seconds(), Slow: f.New.Errors, OldSlow: f.Old.Errors,
	}
}

func (s slowness) sentence(r *api.GuardReport, old string) string {
	l := r.Latency
	return fmt.Sprintf("%s %s -> %s (%d of %d answers took longer than %s in %d s; %s had %d of %d)", r.Of,
		api.LatencyText(l.OldTook), api.LatencyText(l.Took), l.Slow, r.Requests, api.LatencyText(l.Limit), r.Seconds,
		old, l.OldSlow, r.OldRequests)
}

// percent formats a share: "0.4 %", "31 %".
func percent(n, of uint64) string {
	p := 100 * float64(n) / float64(max(1, of))
	if p < 10 {
		return strconv.FormatFloat(float64(int(p*10+0.5))/10, 'f', -1, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + " %"
}

// judged is a symptom and what is done about it.
type judged struct {
	symptom
	thresholds guard.Thresholds
	warn       bool
	rate       bool   // the answers are counted, and none of them is a symptom
	warms      bool   // the first answers of a new release say nothing
	least      uint64 // answers of the old release without which there is no verdict
}

// symptoms returns what a process is judged by. before is what its old release has counted.
func (g *Guard) symptoms(before *requests.Counts) (list []judged) {
	if !g.Off {
		list = append(list, judged{
			symptom: errorsOf{}, thresholds: guard.Thresholds{Points: g.Points, Factor: g.Factor}, warn: g.Warn,
		})
	}
	if g.Rate != nil {
		list = append(list, judged{symptom: silence{}, rate: true, warn: g.Rate.Warn, least: guard.LeastAnswers})
	}
	if g.Latency == nil {
		return list
	}
	for _, q := range guard.Quantiles() {
		limit := guard.Limit(before.Durations.Quantile(q.Of), g.Latency.Slower)
		list = append(list, judged{
			symptom: slowness{q, limit}, thresholds: q.Thresholds, warn: g.Latency.Warn,
			warms: true, least: guard.LeastAnswers,
		})
	}
	return list
}
