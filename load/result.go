package load

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is what a load has recorded, in the order in which the requests were due.
type Result struct {
	Shapes       []Shape
	Records      []Record
	Began, Ended time.Time
	Exhausted    bool // it ended by itself at one of its limits, perhaps before what it was to accompany
}

// Window is a stretch of time.
type Window struct{ Began, Ended time.Time }

// Failed are the requests that failed.
func (r *Result) Failed() []Record {
	return r.where(func(rec *Record) bool { return rec.Failure != None })
}

// Count is how many requests ended in each class.
func (r *Result) Count() map[Failure]int {
	n := make(map[Failure]int)
	for i := range r.Records {
		n[r.Records[i].Failure]++
	}
	return n
}

// During is the part of the result that was under way at some moment of one of the windows.
func (r *Result) During(windows ...Window) *Result { return r.part(windows, true) }

// Outside is the rest.
func (r *Result) Outside(windows ...Window) *Result { return r.part(windows, false) }

func (r *Result) part(windows []Window, inside bool) *Result {
	p := *r
	p.Records = r.where(func(rec *Record) bool {
		return inside == slices.ContainsFunc(windows, func(w Window) bool {
			return !rec.Ended.Before(w.Began) && !rec.Due.After(w.Ended)
		})
	})
	return &p
}

// Only is the part of the result whose requests have the shape of that name.
func (r *Result) Only(name string) *Result {
	p := *r
	p.Records = r.where(func(rec *Record) bool { return r.Shapes[rec.Shape].Name == name })
	return &p
}

// Reused is the part of the result whose requests went over a connection that an earlier one had opened.
func (r *Result) Reused() *Result {
	p := *r
	p.Records = r.where(func(rec *Record) bool { return rec.Reused })
	return &p
}

func (r *Result) where(keep func(*Record) bool) []Record {
	var kept []Record
	for i := range r.Records {
		if keep(&r.Records[i]) {
			kept = append(kept, r.Records[i])
		}
	}
	return kept
}

// Latency is how long requests took, the failed ones too.
type Latency struct{ P50, P99, P999, Max time.Duration }

// Latency is measured from the moment when a request was due.
func (r *Result) Latency() Latency {
	took := make([]time.Duration, 0, len(r.Records))
	for i := range r.Records {
		took = append(took, r.Records[i].Took())
	}
	slices.Sort(took)
	return Latency{percentile(took, 0.5), percentile(took, 0.99), percentile(took, 0.999), percentile(took, 1)}
}

// Lag is how much later than due half of the requests were begun: what the clients could not send in time, because all of them were
// waiting for an answer.
func (r *Result) Lag() time.Duration {
	late := make([]time.Duration, 0, len(r.Records))
	for i := range r.Records {
		late = append(late, r.Records[i].Begun.Sub(r.Records[i].Due))
	}
	slices.Sort(late)
	return percentile(late, 0.5)
}

// percentile is the smallest value that at least the share p of sorted is not above (nearest rank).
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

// String is one line of latencies.
func (l Latency) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
	return fmt.Sprintf("p50 %s ms, p99 %s ms, p99.9 %s ms, slowest %s ms", ms(l.P50), ms(l.P99), ms(l.P999), ms(l.Max))
}

// shown is how many failures String lists one by one.
const shown = 20

// slow is what a request may take before it is listed beside those that failed.
const slow = 100 * time.Millisecond

// String is the result for people: counts, latencies, who answered, and the first failures.
func (r *Result) String() string {
	var b strings.Builder
	failed, count := r.Failed(), r.Count()
	fmt.Fprintf(&b, "%d requests in %.1f s, %d failed", len(r.Records), r.Ended.Sub(r.Began).Seconds(), len(failed))
	sep := ": "
	for _, f := range Failures() {
		if count[f] > 0 {
			fmt.Fprintf(&b, "%s%d %s", sep, count[f], f)
			sep = ", "
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.Latency())
	if r.Exhausted {
		b.WriteString("the load reached its limit and ended by itself\n")
	}
	answered := make(map[string]int)
	for i := range r.Records {
		if rec := &r.Records[i]; rec.Status != 0 {
			answered[fmt.Sprintf("%s g%d", orDefault(rec.Release, "?"), rec.Generation)]++
		}
	}
	who := make([]string, 0, len(answered))
	for name, n := range answered {
		who = append(who, fmt.Sprintf("%s: %d", name, n))
	}
	slices.Sort(who)
	fmt.Fprintf(&b, "answered by %s\n", strings.Join(who, ", "))
	for i, rec := range failed {
		if i == shown {
			fmt.Fprintf(&b, "  and %d more\n", len(failed)-shown)
			break
		}
		fmt.Fprintf(&b, "  %s\n", r.describe(&rec))
	}
	if len(failed) > 0 {
		for i := range r.Records {
			if rec := &r.Records[i]; rec.Failure == None && rec.Ended.Sub(rec.Begun) > slow {
				fmt.Fprintf(&b, "  slow: %s\n", r.describe(rec))
			}
		}
	}
	return b.String()
}

// describe is one request on one line.
func (r *Result) describe(rec *Record) string {
	how := "new connection"
	if rec.Reused {
		how = "kept connection"
	}
	return fmt.Sprintf("%s +%.3fs %s after %s, %s, opened %s, answered by %q g%d pid %d: %s: %s", rec.Begun.Format("15:04:05.000000"),
		rec.Begun.Sub(r.Began).Seconds(), r.Shapes[rec.Shape].Name, rec.Ended.Sub(rec.Begun).Round(time.Microsecond), how,
		rec.Opened.Format("15:04:05.000000"), rec.Release, rec.Generation, rec.PID, rec.Failure, rec.Err)
}
