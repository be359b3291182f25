package api

import (
	"slices"
	"time"
)

// Result is how a change ended.
type Result string

// The results, each with an exit code of its own (DESIGN 9).
const (
	Done     Result = "done"     // 0: the release is live, or there was nothing to do
	Aborted  Result = "aborted"  // 1: refused or failed before the cutover; the live release did not change
	Reverted Result = "reverted" // 5: the release failed its probation, or the guard found it worse; the previous release is live
)

// Outcome is the result of a change; its JSON is the contract of `switch --json`.
type Outcome struct {
	Kind string `json:"kind"` // switch, rollback, reload, restart
	// DryRun says that nothing was begun: Changed, Result and Release are what they would be, and
	// Previous is live.
	DryRun         bool    `json:"dry_run,omitempty"`
	Maintenance    string  `json:"maintenance,omitempty"` // of the kind maintenance: MaintenanceOn or MaintenanceOff
	Follower       bool    `json:"follower,omitempty"`    // the leader of its run tells the team
	Changed        bool    `json:"changed"`
	Result         Result  `json:"outcome"`
	Release        string  `json:"release"` // the requested release
	Commit         string  `json:"commit,omitempty"`
	Previous       string  `json:"previous"` // the release that was live when the change began
	PreviousCommit string  `json:"previous_commit,omitempty"`
	Generation     int     `json:"generation"`
	Steps          []Step  `json:"steps"`
	Seconds        float64 `json:"seconds"`
	Command        string  `json:"command,omitempty"` // the scheduled command of a notification of CronKind
	Error          string  `json:"error,omitempty"`
	FailedStep     string  `json:"failed_step,omitempty"` // the step that failed, such as StepProve
	Culprit        Culprit `json:"culprit,omitempty"`     // the program of the app that failed; "" = none did
	// of the hook or the check that failed; nil if it did not fail by an exit code
	ExitCode *int     `json:"exit_code,omitempty"`
	Log      []string `json:"log,omitempty"` // last lines of Culprit
	// CutoverSeconds is how long the gates took to turn; 0 if no gate was turned, or if they turned
	// worker by worker.
	CutoverSeconds float64 `json:"cutover_seconds,omitempty"`
	// problems that did not stop the change, such as requests that were cut at the drain limit
	Warnings []string `json:"warnings,omitempty"`
	// what the guard has seen, by process; nil = there was nothing to guard
	Guard []GuardReport `json:"guard,omitempty"`
	// variables that differ between the live release and this one; nil = none, or nothing was live
	Variables *VariableChanges `json:"variables,omitempty"`
	// what users got before the cutover and after it, by process; nil = nothing was live before, or the
	// cutover was not reached
	Traffic []ProcessTraffic `json:"traffic,omitempty"`
	// of a dry run: packages that differ; nil = none, or nothing is live
	Packages *PackageChanges `json:"packages,omitempty"`
	Before   []string        `json:"before,omitempty"` // of a dry run: the before hooks that would run
	Who      string          `json:"who"`
	Origin
	Started time.Time `json:"started"`
}

// PastChange is one change of the history, as `history --json` prints it.
type PastChange struct {
	Number int `json:"number"` // counted from 1; a change keeps it
	Outcome
}

// Culprit is the program of the app that made a change fail.
type Culprit string

// The culprits.
const (
	Worker Culprit = "worker"
	Hook   Culprit = "hook"
	Check  Culprit = "check" // of a canary, or the smoke check of a bundle
)

// Step is one step of a change.
type Step struct {
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail,omitempty"`
	Output  []string  `json:"output,omitempty"` // the last lines that its commands wrote
}

// WithoutOutput returns a copy of the outcome without the output of hooks, which can be large. The
// history keeps it.
func (o *Outcome) WithoutOutput() *Outcome {
	short := *o
	short.Steps = slices.Clone(o.Steps)
	for i := range short.Steps {
		short.Steps[i].Output = nil
	}
	return &short
}

// Event reports progress of a running change: a step begins, makes progress, writes output, is
// ready for the word to cut over, or ends.
type Event struct {
	Type string `json:"type"` // "begin", "progress", "output", "ready", "end"
	Step string `json:"step"`
	// progress: what the step waits for; output: one line of a hook; ready: the release; end: what the
	// step did
	Detail string `json:"detail,omitempty"`
	Change string `json:"change,omitempty"` // ready: names the change to Go; only its client knows it
	// end: how long the step took; begin, for a client that has attached: how long it has been running
	Seconds float64 `json:"seconds,omitempty"`
	Limit   float64 `json:"limit,omitempty"` // begin: the most seconds that the step takes; 0 = unknown
}
