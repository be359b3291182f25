package api

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrClientGone is the cause of the end of a request whose client has vanished without canceling it: an
// ssh connection broke, for instance. A change that has begun continues without its client, unless it
// is prepared.
var ErrClientGone = errors.New("the client is gone")

// CancelRequest asks to cancel the change in progress.
type CancelRequest struct {
	Why    string `json:"why,omitempty"` // the reason; others see it
	Who    string `json:"who"`           // set by the control server, as in Request
	Origin        // likewise, but for Behalf
}

// Validate returns an error if the request has a reason that cannot be shown.
func (r *CancelRequest) Validate() error {
	if utf8.RuneCountInString(r.Why) > maxWhy || strings.ContainsFunc(r.Why, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("invalid reason %q: use at most %d printable characters", r.Why, maxWhy)
	}
	return r.Origin.Validate()
}

// CanceledError is why a change was aborted that a user canceled.
type CanceledError struct {
	Who string // with the origin, as Origin.By returns it
	Why string // "" = no reason was given
}

// Error names the user, and the reason if one was given.
func (e *CanceledError) Error() string {
	text := "canceled by " + e.Who
	if e.Why != "" {
		text += ": " + e.Why
	}
	return text
}

// Canceled is the answer to a CancelRequest.
type Canceled struct {
	// Canceled reports whether a change was in progress and has come to nothing.
	Canceled bool `json:"canceled"`
	// Change is the outcome of the change that was in progress; nil = none was.
	Change *Outcome `json:"change,omitempty"`
}

// Attached is what a client gets that follows the change in progress.
type Attached struct {
	// InProgress reports whether a change was in progress. If not, Outcome is that of the last one.
	InProgress bool `json:"in_progress"`
	// Outcome is the outcome of the change; nil = no change is in progress, and none has ended so far.
	Outcome *Outcome `json:"outcome,omitempty"`
}
