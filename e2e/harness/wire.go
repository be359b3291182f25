package harness

import (
	"time"

	"superctl/api"
)

// Status is the contract of `status --json` for a user's script. It is declared here a second time,
// so that a change of the daemon's own types cannot change the contract unnoticed.
type Status struct {
	App         string       `json:"app"`
	Version     string       `json:"version"`
	PID         int          `json:"pid"`
	Since       time.Time    `json:"since"`
	Release     string       `json:"release"`
	LiveSince   time.Time    `json:"live_since"`
	LiveBy      string       `json:"live_by"`
	LiveOrigin  Origin       `json:"live_origin"`
	Previous    string       `json:"previous"`
	Generation  int          `json:"generation"`
	Health      string       `json:"health"`
	Reason      string       `json:"reason"`
	Changing    *Changing    `json:"changing"`
	Lock        *Lock        `json:"lock"`
	Last        *Outcome     `json:"last"`
	Generations []Generation `json:"generations"`
	Listeners   []Listener   `json:"listeners"`
	Containment string       `json:"containment"`
	Troubles    []any        `json:"troubles"`

	Requests    *api.Requests          `json:"requests"`
	Maintenance *api.MaintenanceStatus `json:"maintenance"`
}

// Origin is where a request came from.
type Origin struct {
	From     string `json:"from"`
	SudoUser string `json:"sudo_user"`
}

// Lock is the lease that a run, or an operator, has of a host.
type Lock struct {
	Run string `json:"run"`
	Why string `json:"why"`
}

// Changing is the change in progress.
type Changing struct {
	Kind     string    `json:"kind"`
	Who      string    `json:"who"`
	Release  string    `json:"release"`
	Step     string    `json:"step"`
	Since    time.Time `json:"since"`
	Canary   *Canary   `json:"canary"`
	OldShare float64   `json:"old_share"`
}

// Canary is the share of the connections that a new generation gets before its cutover.
type Canary struct {
	Share    float64  `json:"share"` // percent
	Networks []string `json:"networks"`
}

// Generation is one generation of a status.
type Generation struct {
	ID          int       `json:"id"`
	Release     string    `json:"release"`
	State       string    `json:"state"`
	Since       time.Time `json:"since"`
	Connections int       `json:"connections"`
	MemoryBytes uint64    `json:"memory_bytes"`
	CPUSeconds  float64   `json:"cpu_seconds"`
	Workers     []Worker  `json:"workers"`

	Requests *api.Requests `json:"requests"`
}

// Worker is one worker of a status.
type Worker struct {
	Process     string    `json:"process"`
	Instance    int       `json:"instance"`
	PID         int       `json:"pid"`
	State       string    `json:"state"`
	Restarts    int       `json:"restarts"`
	Since       time.Time `json:"since"`
	MemoryBytes uint64    `json:"memory_bytes"`
	Reason      string    `json:"reason"`
	WaitsFor    string    `json:"waits_for"`
}

// Listener is one listener of a status.
type Listener struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Gate       string `json:"gate"`
	Generation int    `json:"generation"`
	Canary     int    `json:"canary"`
	Queue      int    `json:"queue"`
}

// Outcome is the contract of `switch --json` and of every other command that changes something.
type Outcome struct {
	Changed    bool          `json:"changed"`
	Result     string        `json:"outcome"` // done, aborted, reverted
	Release    string        `json:"release"`
	Previous   string        `json:"previous"`
	Generation int           `json:"generation"`
	Steps      []Step        `json:"steps"`
	Seconds    float64       `json:"seconds"`
	Error      string        `json:"error"`
	Log        []string      `json:"log"`
	Warnings   []string      `json:"warnings"`
	Started    time.Time     `json:"started"`
	Guard      []GuardReport `json:"guard"`
	Traffic    []Traffic     `json:"traffic"`
}

// Traffic is what the users of a process got before the cutover and after it.
type Traffic struct {
	Process string      `json:"process"`
	Before  TrafficSide `json:"before"`
	After   TrafficSide `json:"after"`
}

// TrafficSide is what the users of one release got.
type TrafficSide struct {
	Release   string  `json:"release"`
	Requests  uint64  `json:"requests"`
	Status5xx uint64  `json:"5xx"`
	P50       float64 `json:"p50_seconds"`
	P99       float64 `json:"p99_seconds"`
}

// GuardReport is what the guard has seen of a process.
type GuardReport struct {
	Process     string `json:"process"`
	Verdict     string `json:"verdict"`
	OldRequests uint64 `json:"old_requests"`
	OldErrors   uint64 `json:"old_errors"`
}

// Step is one step of an outcome.
type Step struct {
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail"`
	Output  []string  `json:"output"`
}
