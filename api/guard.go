package api

import "fmt"

// GuardVerdict is what the guard says of a new release.
type GuardVerdict string

// The verdicts of the guard.
const (
	Worse      GuardVerdict = "worse"       // its users get more errors
	NoWorse    GuardVerdict = "no worse"    // no such difference was found
	NoVerdict  GuardVerdict = "no verdict"  // too few requests to say so
	NotCounted GuardVerdict = "not counted" // the workers of one of the releases do not count requests
)

// GuardReport is what the guard has seen of one process of a new release, in a canary or in the
// probation. An error is an answer with a status of 5xx.
type GuardReport struct {
	Process string       `json:"process"`
	Verdict GuardVerdict `json:"verdict"`
	Server  string       `json:"server,omitempty"` // of NotCounted: the server, if it is known
	// what both releases have answered while they were compared; without a comparison what the new
	// release has answered meanwhile, and the old one before
	Requests    uint64 `json:"requests"`
	Errors      uint64 `json:"errors"`
	OldRequests uint64 `json:"old_requests"`
	OldErrors   uint64 `json:"old_errors"`
	Seconds     int    `json:"seconds"`
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
		return fmt.Sprintf("no verdict: %d requests", r.Requests)
	case Worse, NoWorse:
	}
	return fmt.Sprintf("5xx %d of %d requests", r.Errors, r.Requests)
}
