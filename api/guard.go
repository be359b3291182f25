package api

import (
	"fmt"
	"time"
)

// GuardVerdict is what the guard says of a new release.
type GuardVerdict string

// The verdicts of the guard.
const (
	Worse      GuardVerdict = "worse"       // its users get more errors, or slower answers
	NoWorse    GuardVerdict = "no worse"    // no such difference was found
	NoVerdict  GuardVerdict = "no verdict"  // too few requests to say so
	NotCounted GuardVerdict = "not counted" // the workers of one of the releases do not count requests
)

// GuardReport is what the guard has seen of one process of a new release, in a canary or in the
// probation. An error is an answer with a status of 5xx, or that the server or the app has not sent
// to its end.
type GuardReport struct {
	Process string       `json:"process"`
	Verdict GuardVerdict `json:"verdict"`
	// Of is what was judged: "" for the errors, or a quantile of the durations, "p50" or "p95".
	Of     string `json:"of,omitempty"`
	Server string `json:"server,omitempty"` // of NotCounted: the server, if it is known
	// what both releases have answered while they were compared; without a comparison what the new
	// release has answered meanwhile, and the old one before
	Requests    uint64 `json:"requests"`
	Errors      uint64 `json:"errors"`
	OldRequests uint64 `json:"old_requests"`
	OldErrors   uint64 `json:"old_errors"`
	Seconds     int    `json:"seconds"`
	// those of the errors that had no complete answer
	Broken    uint64 `json:"broken,omitempty"`
	OldBroken uint64 `json:"old_broken,omitempty"`
	// Latency is for a quantile only.
	Latency *GuardLatency `json:"latency,omitempty"`
}

// GuardLatency is a quantile of both releases. An answer is slow if it takes longer than the limit, which
// follows from the quantile of the old release.
type GuardLatency struct {
	Took    float64 `json:"seconds"` // the quantile, of the complete answers
	OldTook float64 `json:"old_seconds"`
	Limit   float64 `json:"limit_seconds"` // 0 = unknown: the old release had too few answers
	Slow    uint64  `json:"slow"`
	OldSlow uint64  `json:"old_slow"`
}

// String returns the report in a few words.
func (r *GuardReport) String() string {
	switch r.Verdict {
	case NotCounted:
		server := r.Server
		if server == "" || server == "generic" {
			server = "unknown server"
		}
		return fmt.Sprintf("requests not counted (%s)", server)
	case NoVerdict:
		switch {
		case r.Latency != nil && r.Latency.Limit == 0:
			return fmt.Sprintf("latency: no verdict: the old release had %d requests", r.OldRequests)
		case r.Latency != nil:
			return fmt.Sprintf("latency: no verdict: %d requests after the warm-up", r.Requests)
		}
		return fmt.Sprintf("no verdict: %d requests", r.Requests)
	case Worse, NoWorse:
	}
	if l := r.Latency; l != nil {
		return fmt.Sprintf("%s %s -> %s", r.Of, LatencyText(l.OldTook), LatencyText(l.Took))
	}
	return fmt.Sprintf("%s %d of %d requests", ErrorsName(r.Broken), r.Errors, r.Requests)
}

// ErrorsName returns what the errors of a guard are called, of which so many had no complete answer.
func ErrorsName(broken uint64) string {
	if broken > 0 {
		return "5xx or no answer"
	}
	return "5xx"
}

// LatencyText formats a duration in seconds, which may be far below a millisecond.
func LatencyText(s float64) string {
	switch {
	case s < 0.00995:
		return fmt.Sprintf("%.1f ms", s*1000)
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 60:
		return fmt.Sprintf("%.1f s", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
