package api

import (
	"fmt"
	"time"
)

// Kind is the sort of change that is asked for.
type Kind string

// The kinds of change.
const (
	Switch   Kind = "switch"   // to another release
	Rollback Kind = "rollback" // to the release that was live before
	Reload   Kind = "reload"   // the same release, the config read anew
	Restart  Kind = "restart"  // the workers of one process, from the live generation's plan
	Scale    Kind = "scale"    // how many instances a process has
	Pause    Kind = "pause"    // a background process stops until it is resumed
	Resume   Kind = "resume"   // and runs again
	Upgrade  Kind = "upgrade"  // of the daemon itself; the workers are not touched
)

// Request asks for one change.
type Request struct {
	Kind    Kind   `json:"kind"`
	Release string `json:"release,omitempty"` // switch: exact name, unique prefix, commit, "latest", "previous"
	Process string `json:"process,omitempty"` // restart, pause, resume: which process
	// Instance is the one to restart; nil = all of the process.
	Instance *int `json:"instance,omitempty"`
	// Instances is how many of each process scale is to make; none = what the config says of all.
	Instances map[string]int `json:"instances,omitempty"`
	// Canary has a switch try the release on a part of the connections first; nil = not.
	Canary *Canary `json:"canary,omitempty"`
	// Force goes on although Options.Inspect has an objection.
	Force bool `json:"force,omitempty"`
	// Detach has the change go on when its client hangs up before the cutover, instead of being
	// aborted.
	Detach bool   `json:"detach,omitempty"`
	Cause  string `json:"-"`   // why the daemon itself asks for it
	Who    string `json:"who"` // set by the control server from the peer's credentials, never by the client
	Origin        // likewise
}

// BusyError refuses a change because another one is in progress (exit code 4).
type BusyError struct{ Changing ChangeStatus }

// Error names the change in progress: what, where to, who and since when.
func (e *BusyError) Error() string {
	return fmt.Sprintf("another change is in progress: %s to %s by %s, %s since %s", e.Changing.Kind, e.Changing.Release,
		e.Changing.By(e.Changing.Who), e.Changing.Step, e.Changing.Since.Format(time.TimeOnly))
}

// RefusedError says why a request cannot be a change at all; nothing was begun.
type RefusedError struct {
	Usage bool // the request itself is wrong (exit code 2), not the state that it met (1)
	Err   error
}

// Error is the reason.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap is the reason as an error.
func (e *RefusedError) Unwrap() error { return e.Err }
