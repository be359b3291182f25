package api

import (
	"fmt"
	"time"
)

// Kind is the kind of a requested change.
type Kind string

// The kinds of change.
const (
	Switch   Kind = "switch"   // to another release
	Rollback Kind = "rollback" // to the previous release
	Reload   Kind = "reload"   // the same release with the config read again
	Restart  Kind = "restart"  // the workers of one process, from the live generation's plan
	Scale    Kind = "scale"    // how many instances a process has
	Pause    Kind = "pause"    // stop a background process until it is resumed
	Resume   Kind = "resume"   // start it again
	Upgrade  Kind = "upgrade"  // of the daemon itself; the workers are not touched

	// Maintenance shows a maintenance page to users, or ends that.
	Maintenance Kind = "maintenance"
)

// Request asks for one change.
type Request struct {
	Kind    Kind   `json:"kind"`
	Release string `json:"release,omitempty"` // switch: exact name, unique prefix, commit, "latest", "previous"
	Process string `json:"process,omitempty"` // restart, pause, resume: which process
	// Instance is the instance to restart; nil = all instances of the process.
	Instance *int `json:"instance,omitempty"`
	// Instances maps each process to scale to its number of instances; empty = reset all processes
	// to the config.
	Instances map[string]int `json:"instances,omitempty"`
	// Canary tries the release on a part of the connections before the cutover; nil = no canary.
	Canary *Canary `json:"canary,omitempty"`
	// Maintenance is the page to show; nil = users reach the app again.
	Maintenance *MaintenancePage `json:"maintenance,omitempty"`
	// Prepare is how long the change waits before its cutover until Go is called for it; 0 = it does
	// not wait. The wait is the step StepReady.
	Prepare time.Duration `json:"prepare,omitempty"`
	// Expect is the name of the release that must be live, or NoRelease. If another is, a switch and a
	// reload are refused, unless there is nothing to do, and a rollback has nothing to do. "" = any.
	Expect string `json:"expect,omitempty"`
	// Follower leaves out the hooks that run once in a run, and the notifications: its leader sees to both.
	Follower bool `json:"follower,omitempty"`
	// DryRun finds out what a switch, a rollback or a reload would do, and whether it would be refused
	// before anything is begun. It changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// Force continues although the inspection of the migrations objects.
	Force bool `json:"force,omitempty"`
	// Detach lets the change continue when its client hangs up before the cutover. Otherwise only the
	// change of a client that can cancel it continues, if it is not prepared.
	Detach bool `json:"detach,omitempty"`
	// Wait is how long the request waits while another change is in progress or the app is locked for
	// another run; 0 = it is refused at once. The wait is the step StepWait.
	Wait time.Duration `json:"wait,omitempty"`
	// Recycle replaces a worker that has reached a limit of its process. Only the daemon itself asks for it.
	Recycle bool   `json:"-"`
	Cause   string `json:"-"`   // why the daemon itself requests the change
	Who     string `json:"who"` // set by the control server from the peer's credentials, never by the client
	Origin         // likewise, but for the run
}

// NoRelease is the value of Request.Expect if no release may be live.
const NoRelease = "none"

// BusyError refuses a change because another one is in progress, or because the app is locked for a
// run (exit code 4).
type BusyError struct {
	Changing ChangeStatus
	Lock     *LockStatus // nil = a change is in progress
}

// Error returns text that names the lock, or the change in progress: its kind, release, requester,
// step and start.
func (e *BusyError) Error() string {
	if e.Lock != nil {
		return e.Lock.String() + ". Only changes of this run are accepted: wait until it ends, or end that process"
	}
	by := e.Changing.By(e.Changing.Who)
	if e.Changing.Run != "" {
		by += ", run " + e.Changing.Run
	}
	return fmt.Sprintf("another change is in progress: %s by %s, %s since %s", e.Changing.What(), by, e.Changing.Step,
		Moment(e.Changing.Since))
}

// RefusedError refuses a request before anything is begun.
type RefusedError struct {
	Usage bool // the request itself is wrong (exit code 2), rather than the state of the app (1)
	Err   error
}

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason as an error.
func (e *RefusedError) Unwrap() error { return e.Err }
