package api

import "time"

// Status is the current state of the app; its JSON is the contract of `status --json` (DESIGN 9).
type Status struct {
	App    string `json:"app"`
	Host   string `json:"host"`             // name of the host
	Config string `json:"config,omitempty"` // path of the config file
	// the config on disk, or a part of it, is not in force; Troubles has the reason
	ConfigChanged bool      `json:"config_changed,omitempty"`
	Version       string    `json:"version"`
	PID           int       `json:"pid"`
	Since         time.Time `json:"since"`   // when this daemon started
	Release       string    `json:"release"` // the live release; "" if no release is live
	// the release that should be live while no release is; Reason says why it is not
	Expected string `json:"expected,omitempty"`
	// no release is live because the start of one has failed; Reason says why, and the daemon tries it again
	StartFailed bool `json:"start_failed,omitempty"`
	// no release is live because the server that the app replaces still serves; Reason names it
	Waiting bool   `json:"waiting,omitempty"`
	Commit  string `json:"commit,omitempty"`
	// when the change that made the release live ended; restarts of its workers do not alter it
	LiveSince  time.Time `json:"live_since,omitzero"`
	LiveBy     string    `json:"live_by,omitempty"` // who requested that change
	LiveOrigin *Origin   `json:"live_origin,omitempty"`
	Run        string    `json:"run,omitempty"` // the run that the change belonged to
	// TakenBack reports whether the release is live again because that run took back what it had made
	// live.
	TakenBack  bool          `json:"taken_back,omitempty"`
	Previous   string        `json:"previous"` // the release that rollback goes to; "" if there is none
	Generation int           `json:"generation"`
	Health     string        `json:"health"`           // "ok", "degraded" or "down"
	Reason     string        `json:"reason,omitempty"` // why Health is not "ok"
	Changing   *ChangeStatus `json:"changing"`
	Lock       *LockStatus   `json:"lock,omitempty"` // nil = all changes are accepted
	Last       *Outcome      `json:"last"`           // outcome of the newest change in the state file, or null
	// Maintenance is the maintenance that the app is in: users get a page, and not the live release;
	// nil = it is in none.
	Maintenance *MaintenanceStatus `json:"maintenance,omitempty"`
	Processes   []ProcessStatus    `json:"processes"` // of the live generation
	Generations []GenerationStatus `json:"generations"`
	Listeners   []ListenerStatus   `json:"listeners"`
	// of all generations since the app started, also of those that are gone; nil = they are not counted
	Requests    *Requests   `json:"requests,omitempty"`
	Containment Containment `json:"containment"`
	// the scheduled commands of the live release
	Cron     []CronStatus `json:"cron,omitempty"`
	Troubles []Trouble    `json:"troubles,omitempty"` // problems around the app
}

// Trouble is a problem around the app: a notify target that cannot be reached, a full state disk, a
// removed socket.
type Trouble struct {
	Of    string    `json:"of"` // what does not work, as a noun: "state", "current", "listener web", "notify.team"
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
	// Health is the effect on the health of the app: HealthDegraded, HealthDown, or "" for none.
	Health string `json:"health,omitempty"`
}

// ReplacedTrouble is the Trouble.Of of a live release whose directory was replaced by another one
// since it went live.
const ReplacedTrouble = "directory of the live release"

// Containment is how superctl finds all processes of a worker.
type Containment string

// The kinds of containment.
const (
	ControlGroups Containment = "control groups" // no process can leave its group
	ProcessGroups Containment = "process groups" // found by process group, descent and a mark in the environment
)

// ChangeStatus is the change in progress.
type ChangeStatus struct {
	Kind string `json:"kind"` // switch, rollback, reload, restart, stop
	Who  string `json:"who"`
	Origin
	Release string `json:"release"` // the release that becomes live
	Step    string `json:"step"`
	// Committed reports whether the gate has turned: the change then cannot be canceled any more.
	Committed bool      `json:"committed,omitempty"`
	Since     time.Time `json:"since"`
	Follower  bool      `json:"follower,omitempty"` // the leader of its run runs the hooks that run once
	// Canary is the part of the connections that the new generation gets now, before its cutover.
	Canary *CanaryStatus `json:"canary,omitempty"`
	// OldShare is the part of the new connections that the generation before gets in the probation, so that
	// the guard can compare, in percent.
	OldShare float64 `json:"old_share,omitempty"`
}

// What returns what is done: "switch to r42". Until its first step has found the release, a start has none.
func (c *ChangeStatus) What() string {
	if c.Release == "" {
		return c.Kind
	}
	return c.Kind + " to " + c.Release
}

// GenerationStatus is one generation that still has workers or a listener.
type GenerationStatus struct {
	ID          int       `json:"id"`
	Release     string    `json:"release"`
	Commit      string    `json:"commit,omitempty"`
	State       string    `json:"state"` // booting, staged, live, standby, draining
	Since       time.Time `json:"since"` // when it entered this state
	Connections int       `json:"connections"`
	MemoryBytes uint64    `json:"memory_bytes"` // of all its workers
	// of its current workers since their start; only with control groups
	CPUSeconds *float64       `json:"cpu_seconds,omitempty"`
	Workers    []WorkerStatus `json:"workers"`
	// of all workers that it has had; nil = none of them counts
	Requests *Requests `json:"requests,omitempty"`
	// its processes that serve requests and do not count them
	Uncounted []Uncounted `json:"uncounted,omitempty"`
}

// ProcessStatus is one process of the live generation.
type ProcessStatus struct {
	Name       string `json:"name"`
	Wanted     int    `json:"wanted"`           // instances
	Configured int    `json:"configured"`       // instances in the config; Wanted differs after superctl scale
	Ready      int    `json:"ready"`            // of the wanted instances
	Paused     bool   `json:"paused,omitempty"` // stopped until it is resumed
	// of all workers that it has had in the live generation; nil = they are not counted
	Requests *Requests `json:"requests,omitempty"`
}

// WorkerStatus is one worker.
type WorkerStatus struct {
	Process  string    `json:"process"`
	Instance int       `json:"instance"`
	PID      int       `json:"pid"`
	State    string    `json:"state"`            // starting, ready, backoff, stopping, killing, exited, failed
	Status   string    `json:"status,omitempty"` // the worker's last STATUS= notification (sd_notify(3))
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`
	// resident memory of the worker and its children, or the count of the memory controller
	MemoryBytes uint64 `json:"memory_bytes"`
	Reason      string `json:"reason,omitempty"` // how the instance last ended
	// what it waits for before its stop signal; "" = it has had that, or is not to stop
	WaitsFor LingerFor `json:"waits_for,omitempty"`
	// when it gets its stop signal at the latest
	WaitsUntil *time.Time `json:"waits_until,omitempty"`
	// the worker answers with `Connection: close` while it drains
	DrainHook bool `json:"drain_hook,omitempty"`
	// of all workers that this instance has had; nil = they are not counted
	Requests *Requests `json:"requests,omitempty"`
}

// ListenerStatus is one listener of the app.
type ListenerStatus struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Gate       string `json:"gate"`
	Generation int    `json:"generation"`
	Canary     int    `json:"canary,omitempty"` // the generation that gets a part of the connections
	Queue      int    `json:"queue"`
	QueueLimit int    `json:"queue_limit"`
}
