package api

import "time"

// CronKind is the Outcome.Kind of a notification about a scheduled command that has failed. Command
// is then its name, Error the reason, and Seconds how long it ran.
const CronKind = "cron"

// CronRequest asks for a run of a scheduled command now.
type CronRequest struct {
	Name   string `json:"name"`
	Who    string `json:"who"` // set by the control server from the peer's credentials, never by the client
	Origin        // likewise
}

// CronStatus is a scheduled command of the live release.
type CronStatus struct {
	Name     string   `json:"name"`
	Schedule string   `json:"schedule"`
	Timezone string   `json:"timezone,omitempty"` // "" = that of the machine
	Command  []string `json:"command"`
	// when it is due next, or since when it is due if it waits; nil = never, or not on this host
	Next *time.Time `json:"next"`
	// why it is not scheduled, or does not begin although it is due; "" = nothing is in its way
	Reason  string    `json:"reason,omitempty"`
	Running []CronRun `json:"running,omitempty"` // oldest first
	// how often it was due, and not started because it still ran, since the last run began
	Skipped int      `json:"skipped,omitempty"`
	Last    *CronRun `json:"last"` // that has ended; nil = none has
}

// CronRun is one run of a scheduled command.
type CronRun struct {
	Name    string     `json:"name"`
	Release string     `json:"release"`       // that it runs from
	Due     *time.Time `json:"due,omitempty"` // nil = it was started by a person
	Who     string     `json:"who,omitempty"` // that person
	Began   time.Time  `json:"began"`
	Seconds float64    `json:"seconds,omitempty"`
	Result  CronResult `json:"outcome,omitempty"` // "" = it runs
	// nil = it has no exit code, such as after a signal
	ExitCode *int     `json:"exit_code,omitempty"`
	Error    string   `json:"error,omitempty"` // why it is not done
	Log      []string `json:"log,omitempty"`   // the last lines of a run that is not done
}

// CronResult is how a run of a scheduled command ended.
type CronResult string

// The results.
const (
	CronDone   CronResult = "done"   // exit code 0
	CronFailed CronResult = "failed" // another exit code, a signal, or it could not be started
	CronEnded  CronResult = "ended"  // by superctl, at its timeout or with the daemon
)
