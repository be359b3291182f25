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
// probation. An error is an answer with a status of 5xx, or that the server or the app has not sent
// to its end.
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
	// those of the errors that had no complete answer
	Broken    uint64 `json:"broken,omitempty"`
	OldBroken uint64 `json:"old_broken,omitempty"`
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
	return fmt.Sprintf("%s %d of %d requests", ErrorsName(r.Broken), r.Errors, r.Requests)
}

// ErrorsName returns what the errors of a guard are called, of which so many had no complete answer.
func ErrorsName(broken uint64) string {
	if broken > 0 {
		return "5xx or no answer"
	}
	return "5xx"
}
