// Package fleet turns the hosts of an environment from one release to another together, or not at
// all.
//
// A run has one owner, its loop, which knows the state of every host and decides by a table what each
// event means: that of [Do] is in table.go; [Maintain] and [Hold] have small ones. All that it needs of a host are commands of superctl, each of
// which works on one host alone; a [Transport] runs them. Every host first prepares the change:
// it boots the release, proves it, and waits. Only when all hosts are ready does the canary host get
// the word to cut over, and only after its probation do the others. What fails before the first word
// leaves every host on its release; what fails after it takes back those that have turned.
//
// Nothing else runs on the hosts: no agent and no server, and the hosts do not know each other.
// So there is no consensus. An operator or a cable that fails between two words leaves hosts on
// different releases. Each host knows by which run its release became live, so that [Look] finds
// the mix and another run ends it.
package fleet

import (
	"time"

	"superctl/api"
)

// Plan is what a run does.
type Plan struct {
	Run  string // the run's ID: letters, digits and . _ -
	By   string // who runs it: a claim, which the hosts keep in their histories
	App  string
	Env  string   // the name of the fleet, for messages
	Why  string   // what the lease tells others: "deploy of 1.2"
	Kind api.Kind // Switch, Rollback, Reload or Maintenance
	// Release is the release of a Switch. All hosts must resolve it to the same release.
	Release string
	Bundle  *Bundle // installed on all hosts first; nil = the release is there
	// Page is the page that Maintain shows; nil = users reach the app again.
	Page   *api.MaintenancePage
	Hosts  []string // the canary host is the first that cuts over
	Canary string   // one of Hosts
	Batch  int      // how many hosts cut over at once after the canary host; 0 = all
	Bake   time.Duration
	// Without are hosts of the fleet that the operator has left out; they are behind afterwards.
	Without []string
	// Keep leaves hosts on the new release when another host has reverted it.
	Keep bool
	// Degraded lets a run begin although a host is not well. A Rollback always may.
	Degraded bool
	Force    bool     // see api.Request.Force
	Extra    []string // more options of the command on every host
}

// Limits are the longest times of the parts of a run. A zero is the default.
type Limits struct {
	Reach    time.Duration // connect to all hosts and ask their status
	Install  time.Duration // copy a bundle and install it
	Prepare  time.Duration // prepare on the canary host, and then on the others
	Confirm  time.Duration // ask hosts that are ready whether they are still there
	Turn     time.Duration // from the word to the outcome: cutover, probation and drain
	Maintain time.Duration // show or end the maintenance page
	TakeBack time.Duration // take back all hosts that have turned
	Abort    time.Duration // until all hosts have aborted
	Beat     time.Duration // between two signs of life to a host that waits
	Dead     time.Duration // after the last sign of life a host aborts
}

func (l Limits) withDefaults() Limits {
	for at, value := range map[*time.Duration]time.Duration{
		&l.Reach: 20 * time.Second, &l.Install: 20 * time.Minute, &l.Prepare: 10 * time.Minute, &l.Turn: 15 * time.Minute,
		&l.Confirm: 10 * time.Second, &l.TakeBack: 2 * time.Minute, &l.Maintain: 2 * time.Minute,
		&l.Abort: 20 * time.Second, &l.Beat: 3 * time.Second, &l.Dead: 10 * time.Second,
	} {
		if *at == 0 {
			*at = value
		}
	}
	return l
}

// State is the state of a host in a run.
type State string

// The states, in the order in which a host passes through them, and then the ways it can end.
const (
	Waiting   State = "waiting"
	Reached   State = "reached"
	Leased    State = "leased"
	Installed State = "installed"
	Preparing State = "preparing"
	Ready     State = "ready"   // prepared; the host waits for the word
	Turning   State = "turning" // it has the word
	Done      State = "done"
	Refused   State = "refused"    // it refused or failed before its cutover
	Aborted   State = "aborted"    // the run ended before its word
	Reverted  State = "reverted"   // the release failed its probation there
	Returned  State = "taken back" // another host failed
	Behind    State = "behind"     // the word did not reach it, or it was left out
	Unknown   State = "unknown"    // it was lost after its word
	Stuck     State = "stuck"      // it could not be taken back
)

// HostResult is how a run ended on a host.
type HostResult struct {
	Host    string       `json:"host"`
	State   State        `json:"state"`
	Before  string       `json:"before"`            // the release that was live when the run began
	Release string       `json:"release,omitempty"` // the live release, as far as the run knows
	Error   string       `json:"error,omitempty"`
	Outcome *api.Outcome `json:"outcome,omitempty"` // of the host's change
}

// Result is how a run ended; its JSON is the contract of `superctl @ENV deploy --json`.
type Result struct {
	Run  string `json:"run"`
	By   string `json:"by"`
	Kind string `json:"kind"`
	// Maintenance is what a run of the kind maintenance does: "on" or "off".
	Maintenance string       `json:"maintenance,omitempty"`
	Release     string       `json:"release"` // the release that all hosts should run
	Result      api.Result   `json:"outcome"`
	Exit        int          `json:"exit"`
	Changed     bool         `json:"changed"`
	Error       string       `json:"error,omitempty"`
	Hosts       []HostResult `json:"hosts"`
	// Warnings are problems that did not stop the run, such as old releases that were not removed.
	Warnings []string `json:"warnings,omitempty"`
	// SkewSeconds is the time between the first and the last cutover of the hosts that turned
	// together, by their own clocks; 0 if fewer than two did.
	SkewSeconds float64   `json:"skew_seconds,omitempty"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`
}

// Progress is a piece of news of a run.
type Progress struct {
	Host   string // "" = the run as a whole
	State  State
	Step   string // of the host's change, such as api.StepProve
	Detail string
}
