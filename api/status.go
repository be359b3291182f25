package api

import "time"

// Status is the app as it is now; its JSON is the contract of `status --json` (DESIGN 9).
type Status struct {
	App     string    `json:"app"`
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`   // when this daemon started
	Release string    `json:"release"` // live; "" when none is
	// the release that should be live while none is; Reason says why it is not
	Expected string `json:"expected,omitempty"`
	Commit   string `json:"commit,omitempty"`
	// of the change that has made it live, and not of what has become of its workers since
	LiveSince   time.Time          `json:"live_since,omitzero"`
	LiveBy      string             `json:"live_by,omitempty"` // who has asked for that change
	LiveOrigin  *Origin            `json:"live_origin,omitempty"`
	Previous    string             `json:"previous"` // where rollback goes; "" when nowhere
	Generation  int                `json:"generation"`
	Health      string             `json:"health"`           // "ok", "degraded" or "down"
	Reason      string             `json:"reason,omitempty"` // why it is not ok
	Changing    *ChangeStatus      `json:"changing"`
	Last        *Outcome           `json:"last"`      // of the newest change that this state file knows, or null
	Processes   []ProcessStatus    `json:"processes"` // of the live generation
	Generations []GenerationStatus `json:"generations"`
	Listeners   []ListenerStatus   `json:"listeners"`
	Containment Containment        `json:"containment"`
	Troubles    []Trouble          `json:"troubles,omitempty"` // around the app
}

// Trouble is something around the app that does not work: a notify target that cannot be reached, a
// full state disk, a socket that was removed.
type Trouble struct {
	Of    string    `json:"of"` // what does not work, as a noun: "state", "current", "listener web", "notify.team"
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
	// Health is what it makes of the health of the app: HealthDegraded, HealthDown, or "" for
	// nothing.
	Health string `json:"health,omitempty"`
}

// Containment is what holds the processes of a worker together.
type Containment string

// The kinds of containment.
const (
	ControlGroups Containment = "control groups" // nothing gets out
	ProcessGroups Containment = "process groups" // found by process group, by descent and by a mark in the environment
)

// ChangeStatus is the change in progress.
type ChangeStatus struct {
	Kind string `json:"kind"` // switch, rollback, reload, restart, stop
	Who  string `json:"who"`
	Origin
	Release string `json:"release"` // where it goes
	Step    string `json:"step"`
	// Committed says that the gate has turned: the change goes on, whoever hangs up.
	Committed bool      `json:"committed,omitempty"`
	Since     time.Time `json:"since"`
	// Canary is what the new generation gets now of the connections, before its cutover.
	Canary *CanaryStatus `json:"canary,omitempty"`
}

// GenerationStatus is one generation that still has workers or a listener.
type GenerationStatus struct {
	ID          int       `json:"id"`
	Release     string    `json:"release"`
	Commit      string    `json:"commit,omitempty"`
	State       string    `json:"state"` // booting, staged, live, standby, draining
	Since       time.Time `json:"since"` // of this state
	Connections int       `json:"connections"`
	MemoryBytes uint64    `json:"memory_bytes"` // of all its workers
	// of its present workers, since each was started; only with control groups
	CPUSeconds *float64       `json:"cpu_seconds,omitempty"`
	Workers    []WorkerStatus `json:"workers"`
}

// ProcessStatus is one process of the live generation.
type ProcessStatus struct {
	Name       string `json:"name"`
	Wanted     int    `json:"wanted"`           // instances
	Configured int    `json:"configured"`       // what the config says; another number than Wanted comes from scale
	Ready      int    `json:"ready"`            // of those that are wanted
	Paused     bool   `json:"paused,omitempty"` // none is to run until it is resumed
}

// WorkerStatus is one worker.
type WorkerStatus struct {
	Process  string    `json:"process"`
	Instance int       `json:"instance"`
	PID      int       `json:"pid"`
	State    string    `json:"state"`            // starting, ready, backoff, stopping, killing, exited, failed
	Status   string    `json:"status,omitempty"` // what the worker last said of itself with STATUS=
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`
	// resident, of the worker and its children; with a memory controller, what that counts
	MemoryBytes uint64 `json:"memory_bytes"`
	Reason      string `json:"reason,omitempty"` // how it last ended
	// its answers say `Connection: close` when it gets no new connections any more
	DrainHook bool `json:"drain_hook,omitempty"`
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
