package api

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Lock asks for a lease on the app: until it ends, only changes of its run are accepted.
type Lock struct {
	Why    string `json:"why"`
	Who    string `json:"who"` // set by the control server from the peer's credentials, never by the client
	Origin        // likewise, but for the run
}

// LockStatus is the lease in force.
type LockStatus struct {
	Lock
	Since time.Time `json:"since"`
}

// String returns text that says who has the lease, and how it ends.
func (l *LockStatus) String() string {
	text := fmt.Sprintf("locked for run %s by %s since %s: %s", l.Run, l.By(l.Who), Moment(l.Since), l.Why)
	if l.Peer != nil {
		text += fmt.Sprintf(" (held by the process %d)", l.Peer.PID)
	}
	return text
}

// maxWhy limits the length of a reason, in characters.
const maxWhy = 200

// Validate returns an error that says what is wrong with the request.
func (l *Lock) Validate() error {
	switch {
	case l.Run == "":
		return errors.New("a lock needs a run")
	case strings.TrimSpace(l.Why) == "" || utf8.RuneCountInString(l.Why) > maxWhy ||
		strings.ContainsFunc(l.Why, func(c rune) bool { return !unicode.IsPrint(c) }):
		return fmt.Errorf("invalid reason %q: use 1 to %d printable characters", l.Why, maxWhy)
	}
	return l.Origin.Validate()
}
