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
	// Of is what was judged: "" for the errors, a quantile of the durations, "p50" or "p95", or "rate".
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
	// Rate is for the rate only.
	Rate *GuardRate `json:"rate,omitempty"`
}

// GuardRate is what was seen of the answers of a new release besides their number.
type GuardRate struct {
	InFlight uint64  `json:"in_flight"` // requests that waited for the new release at the last look
	OldShare float64 `json:"old_share"` // part of the new connections that the old release had, in percent
	// Obstacle is why there can be no verdict; "" = there can be one
	Obstacle   RateObstacle `json:"obstacle,omitempty"`
	OldLongest float64      `json:"old_longest_seconds,omitempty"` // answer of the old release, of LongAnswers
}

// RateObstacle is why the rate of a release cannot be judged.
type RateObstacle string

// The obstacles.
const (
	OldCannotServe  RateObstacle = "the old release cannot serve"    // at the same time
	ConnectionsKept RateObstacle = "connections are kept"            // by workers without the drain hook
	ByNetwork       RateObstacle = "canary by network"               // so its part of the requests is not known
	FewAnswers      RateObstacle = "few answers of the old release"  // so its longest is not known
	LongAnswers     RateObstacle = "long answers of the old release" // a silence is nothing unusual
)

// obstacle returns why the rate has no verdict.
func (r *GuardReport) obstacle() string {
	switch r.Rate.Obstacle {
	case OldCannotServe:
		return "the old release cannot serve at the same time"
	case ConnectionsKept:
		return "workers without the drain hook keep their connections"
	case ByNetwork:
		return "the canary is for some networks"
	case FewAnswers:
		return fmt.Sprintf("the old release had %s", requests(r.OldRequests))
	case LongAnswers:
		return "an answer of the old release took " + LatencyText(r.Rate.OldLongest)
	}
	return fmt.Sprintf("%d answers, %d in flight", r.Requests, r.Rate.InFlight)
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
		case r.Rate != nil:
			return "rate: no verdict: " + r.obstacle()
		case r.Latency != nil && r.Latency.Limit == 0:
			return fmt.Sprintf("latency: no verdict: the old release had %s", requests(r.OldRequests))
		case r.Latency != nil:
			return fmt.Sprintf("latency: no verdict: %s after the warm-up", requests(r.Requests))
		}
		return "no verdict: " + requests(r.Requests)
	case Worse, NoWorse:
	}
	if r.Rate != nil {
		return fmt.Sprintf("rate: %d answers in %d s", r.Requests, r.Seconds)
	}
	if l := r.Latency; l != nil {
		return fmt.Sprintf("%s %s -> %s", r.Of, LatencyText(l.OldTook), LatencyText(l.Took))
	}
	return fmt.Sprintf("%s %d of %s", ErrorsName(r.Broken), r.Errors, requests(r.Requests))
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

func requests(n uint64) string {
	if n == 1 {
		return "1 request"
	}
	return fmt.Sprintf("%d requests", n)
}
