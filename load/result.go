package load

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result holds the records of a load, in the order in which the requests were due.
type Result struct {
	Shapes       []Shape
	Records      []Record
	Began, Ended time.Time
	LimitReached bool // it reached one of its limits, perhaps before the operation under test had ended
}

// Window is a period of time.
type Window struct{ Began, Ended time.Time }

// Failed returns the requests that failed.
func (r *Result) Failed() []Record {
	return r.filter(func(rec *Record) bool { return rec.Failure != None })
}

// Count returns the number of requests in each class.
func (r *Result) Count() map[Failure]int {
	n := make(map[Failure]int)
	for i := range r.Records {
		n[r.Records[i].Failure]++
	}
	return n
}

// During returns the requests that were in progress at any time within one of the windows.
func (r *Result) During(windows ...Window) *Result { return r.split(windows, true) }

// Outside returns the requests that During leaves out.
func (r *Result) Outside(windows ...Window) *Result { return r.split(windows, false) }

func (r *Result) split(windows []Window, inside bool) *Result {
	p := *r
	p.Records = r.filter(func(rec *Record) bool {
		return inside == slices.ContainsFunc(windows, func(w Window) bool {
			return !rec.Ended.Before(w.Began) && !rec.Due.After(w.Ended)
		})
	})
	return &p
}

// Only returns the requests of the named shape.
func (r *Result) Only(name string) *Result {
	p := *r
	p.Records = r.filter(func(rec *Record) bool { return r.Shapes[rec.Shape].Name == name })
	return &p
}

// Reused returns the requests sent over a connection that an earlier request had opened.
func (r *Result) Reused() *Result {
	p := *r
	p.Records = r.filter(func(rec *Record) bool { return rec.Reused })
	return &p
}

func (r *Result) filter(keep func(*Record) bool) []Record {
	var kept []Record
	for i := range r.Records {
		if keep(&r.Records[i]) {
			kept = append(kept, r.Records[i])
		}
	}
	return kept
}

// Latency is the distribution of how long requests took, including failed ones.
type Latency struct{ P50, P99, P999, Max time.Duration }

// Latency returns the latencies, each counted from the time at which the request was due.
func (r *Result) Latency() Latency {
	took := make([]time.Duration, 0, len(r.Records))
	for i := range r.Records {
		took = append(took, r.Records[i].Took())
	}
	slices.Sort(took)
	return Latency{percentile(took, 0.5), percentile(took, 0.99), percentile(took, 0.999), percentile(took, 1)}
}

// Lag returns the median delay between the time a request was due and the time it was sent. A delay
// means that all clients were waiting for answers.
func (r *Result) Lag() time.Duration {
	late := make([]time.Duration, 0, len(r.Records))
	for i := range r.Records {
		late = append(late, r.Records[i].Begun.Sub(r.Records[i].Due))
	}
	slices.Sort(late)
	return percentile(late, 0.5)
}

// percentile returns the smallest value that at least the share p of sorted does not exceed
// (nearest rank).
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(p * float64(len(sorted)))
	if float64(rank) < p*float64(len(sorted)) {
		rank++
	}
	return sorted[max(rank, 1)-1]
}

// String returns the latencies as one line.
func (l Latency) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
	return fmt.Sprintf("p50 %s ms, p99 %s ms, p99.9 %s ms, slowest %s ms", ms(l.P50), ms(l.P99), ms(l.P999), ms(l.Max))
}

// reportLimit is how many failed requests a report lists.
const reportLimit = 20

// slowRequest is the duration above which a report lists a successful request next to the failed
// ones.
const slowRequest = 100 * time.Millisecond

// String returns a report: counts, latencies, the answering releases, and the first failures.
func (r *Result) String() string {
	var b strings.Builder
	failed := r.Failed()
	fmt.Fprintf(&b, "%d requests in %.1f s, %d failed%s\n%s\n", len(r.Records), r.Ended.Sub(r.Began).Seconds(),
		len(failed), r.failures(), r.Latency())
	if r.LimitReached {
		b.WriteString("the load reached its limit and ended by itself\n")
	}
	fmt.Fprintf(&b, "answered by %s\n", r.answerers())
	for i, rec := range failed {
		if i == reportLimit {
			fmt.Fprintf(&b, "  and %d more\n", len(failed)-reportLimit)
			break
		}
		fmt.Fprintf(&b, "  %s\n", r.describe(&rec))
	}
	if len(failed) > 0 {
		for _, rec := range r.filter(isSlow) {
			fmt.Fprintf(&b, "  slow: %s\n", r.describe(&rec))
		}
	}
	return b.String()
}

func isSlow(rec *Record) bool { return rec.Failure == None && rec.Ended.Sub(rec.Begun) > slowRequest }

// failures returns the number of failures of each kind, such as ": 2 refused, 1 reset".
func (r *Result) failures() string {
	var kinds []string
	count := r.Count()
	for _, f := range Failures() {
		if count[f] > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", count[f], f))
		}
	}
	if len(kinds) == 0 {
		return ""
	}
	return ": " + strings.Join(kinds, ", ")
}

// answerers returns the number of answers of each generation, such as "r41 g1: 12, r42 g2: 30".
func (r *Result) answerers() string {
	answered := make(map[string]int)
	for i := range r.Records {
		if rec := &r.Records[i]; rec.Status != 0 {
			answered[fmt.Sprintf("%s g%d", orDefault(rec.Release, "?"), rec.Generation)]++
		}
	}
	list := make([]string, 0, len(answered))
	for name, n := range answered {
		list = append(list, fmt.Sprintf("%s: %d", name, n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// describe returns one request as one line.
func (r *Result) describe(rec *Record) string {
	how := "new connection"
	if rec.Reused {
		how = "kept connection"
	}
	const clock = "15:04:05.000000"
	return fmt.Sprintf("%s +%.3fs %s after %s, %s, opened %s, answered by %q g%d pid %d: %s: %s",
		rec.Begun.Format(clock), rec.Begun.Sub(r.Began).Seconds(), r.Shapes[rec.Shape].Name,
		rec.Ended.Sub(rec.Begun).Round(time.Microsecond), how, rec.Opened.Format(clock),
		rec.Release, rec.Generation, rec.PID, rec.Failure, rec.Err)
}
