package api

import (
	"slices"
	"time"
)

// Result is how a change ended.
type Result string

// The results, each with an exit code of its own (DESIGN 9).
const (
	Done     Result = "done"     // 0: it is live, or there was nothing to do
	Aborted  Result = "aborted"  // 1: refused or failed before the cutover; what was live still is
	Reverted Result = "reverted" // 5: it was live, failed its probation, and the old one is live again
)

// Outcome is the end of a change; its JSON is the contract of `switch --json`.
type Outcome struct {
	Kind           string  `json:"kind"` // switch, rollback, reload, restart
	Changed        bool    `json:"changed"`
	Result         Result  `json:"outcome"`
	Release        string  `json:"release"` // that was asked for
	Commit         string  `json:"commit,omitempty"`
	Previous       string  `json:"previous"` // that was live when it began
	PreviousCommit string  `json:"previous_commit,omitempty"`
	Generation     int     `json:"generation"`
	Steps          []Step  `json:"steps"`
	Seconds        float64 `json:"seconds"`
	Error          string  `json:"error,omitempty"`
	FailedStep     string  `json:"failed_step,omitempty"` // at which Error arose, such as StepProve
	Culprit        Culprit `json:"culprit,omitempty"`     // which program failed; "" = none of the app's
	// of the hook or the check that failed; nil = it was not by an exit code
	ExitCode *int     `json:"exit_code,omitempty"`
	Log      []string `json:"log,omitempty"` // last lines of Culprit
	// CutoverSeconds is how long the gates took to turn; 0 = no gate was turned, or worker by
	// worker.
	CutoverSeconds float64 `json:"cutover_seconds,omitempty"`
	// what went on all the same, such as requests that were cut at the drain limit
	Warnings []string `json:"warnings,omitempty"`
	Who      string   `json:"who"`
	Origin
	Started time.Time `json:"started"`
}

// Culprit is the program of the app that a change has failed by.
type Culprit string

// The culprits.
const (
	Worker Culprit = "worker"
	Hook   Culprit = "hook"
	Check  Culprit = "check" // of a canary, or of a bundle that is installed
)

// Step is one step of a change.
type Step struct {
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail,omitempty"`
	Output  []string  `json:"output,omitempty"` // the last lines of what its commands wrote
}

// WithoutOutput is the outcome as it is remembered: what hooks wrote is in the history.
func (o *Outcome) WithoutOutput() *Outcome {
	short := *o
	short.Steps = slices.Clone(o.Steps)
	for i := range short.Steps {
		short.Steps[i].Output = nil
	}
	return &short
}

// Event is what a change says while it runs: a step that begins, a line of progress inside it, or a
// step that ended.
type Event struct {
	Type string `json:"type"` // "begin", "progress", "output", "end"
	Step string `json:"step"`
	// progress: what it waits for; output: one line of a hook; end: what it did
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds,omitempty"` // end: how long it took
	Limit   float64 `json:"limit,omitempty"`   // begin: the most seconds that it takes; 0 = not known
}
