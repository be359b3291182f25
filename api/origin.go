package api

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Origin is where a request came from.
type Origin struct {
	Peer *Peer `json:"peer,omitempty"` // nil if the request did not come over a socket
	// From and SudoUser are unverified claims of the client: the host of its ssh session, and the
	// user behind sudo where the daemon cannot see the login user.
	From     string `json:"from,omitempty"`
	SudoUser string `json:"sudo_user,omitempty"`
	// Run is the id of the run of a fleet that the request belongs to, and Behalf who began that run:
	// also claims of the client.
	Run    string `json:"run,omitempty"`
	Behalf string `json:"by,omitempty"`
}

// Peer identifies a client as the kernel reports it (SO_PEERCRED).
type Peer struct {
	UID uint32 `json:"uid"`
	PID int32  `json:"pid"`
	// the user who logged in, before any sudo or su (proc_pid_loginuid(5))
	Login *uint32 `json:"login_uid,omitempty"`
}

// By returns text for the requester and the origin, such as anna (as root) from 203.0.113.7, or in a
// run: anna (deploy from 203.0.113.7).
func (o Origin) By(who string) string {
	if o.SudoUser != "" {
		who += " (sudo by " + o.SudoUser + ")"
	}
	if o.From != "" {
		who += " from " + o.From
	}
	if o.Behalf != "" {
		who = o.Behalf + " (" + who + ")"
	}
	return who
}

// maxBehalf limits the length of a name, in characters.
const maxBehalf = 100

var runID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Validate returns an error that says what is wrong with the claims about the run.
func (o Origin) Validate() error {
	switch {
	case o.Run != "" && !runID.MatchString(o.Run):
		return fmt.Errorf("invalid run %q: use 1 to 64 of the characters A-Z a-z 0-9 . _ -", o.Run)
	case utf8.RuneCountInString(o.Behalf) > maxBehalf || strings.ContainsFunc(o.Behalf, func(c rune) bool {
		return !unicode.IsPrint(c)
	}):
		return fmt.Errorf("invalid name %q: use at most %d printable characters", o.Behalf, maxBehalf)
	}
	return nil
}
