// Package control is the protocol between commands and the daemon: HTTP and JSON over a unix
// socket, with a version in every path.
//
// The server identifies its peers by the kernel's credentials (SO_PEERCRED, unix(7)), bounds what
// each peer can ask of it, and takes a closed connection as the wish to cancel. It decides nothing
// itself: a Controller does.
package control

import (
	"context"

	"superctl/api"
)

// Version is the version of the wire format. A client and a server of different versions report the
// mismatch.
const Version = "1"

// versionHeader carries Version in both directions.
const versionHeader = "Superctl-Api"

// The paths of the API, which begin with the version.
const (
	pathStatus      = "/v" + Version + "/status"
	pathMeasures    = "/v" + Version + "/measures"
	pathHistory     = "/v" + Version + "/history"
	pathEnvironment = "/v" + Version + "/environment"
	pathChange      = "/v" + Version + "/change"
	pathGo          = "/v" + Version + "/go"
	pathLock        = "/v" + Version + "/lock"
	pathReport      = "/v" + Version + "/report"
	pathLogs        = "/v" + Version + "/logs"
	pathSignal      = "/v" + Version + "/signal"
	pathCron        = "/v" + Version + "/cron"
)

// Controller executes the requests; *supervisor.Supervisor does most of that.
type Controller interface {
	Status() api.Status
	Measures() api.Measures
	// History returns the newest changes, newest first.
	History() ([]api.PastChange, error)
	Environment() api.EnvironmentStatus
	Change(ctx context.Context, req api.Request, emit func(api.Event)) (*api.Outcome, error)
	Go(change string) error
	Lock(ctx context.Context, l api.Lock, locked func()) error
	// Announce notifies the team of the end of a run over several hosts.
	Announce(r api.RunReport) error
	Signal(req api.SignalRequest) (*api.Signaled, error)
	// RunCron runs a scheduled command to its end, or to that of ctx.
	RunCron(ctx context.Context, req api.CronRequest, emit func(api.Event)) (*api.CronRun, error)
	Logs(ctx context.Context, q api.LogQuery, emit func(api.LogLine) error) error
}

// message is one line of the answer to a change or to the run of a scheduled command: any number of
// events, then an outcome or a refusal.
type message struct {
	Event   *api.Event   `json:"event,omitempty"`
	Outcome *api.Outcome `json:"outcome,omitempty"`
	Ran     *api.CronRun `json:"ran,omitempty"` // of a scheduled command
	Refused *refusal     `json:"refused,omitempty"`
}

// goRequest gives a change that is ready the word to cut over. The change is named as in its event
// "ready".
type goRequest struct {
	Change string `json:"change"`
}

// goAnswer is the answer to it.
type goAnswer struct {
	Refused *refusal `json:"refused,omitempty"` // nil = the change goes on
}

// lockAnswer is the answer to a lock: one of the two. The lock ends with its connection.
type lockAnswer struct {
	Locked  bool     `json:"locked,omitempty"`
	Refused *refusal `json:"refused,omitempty"`
}

// reportAnswer is the answer to the report of a run.
type reportAnswer struct {
	Refused *refusal `json:"refused,omitempty"` // nil = the team is notified
}

// signalAnswer is the answer to a signal: one of the two.
type signalAnswer struct {
	Signaled *api.Signaled `json:"signaled,omitempty"`
	Refused  *refusal      `json:"refused,omitempty"`
}

// refusal explains why a change was not begun, or a signal not sent.
type refusal struct {
	Error    string            `json:"error"`
	Usage    bool              `json:"usage,omitempty"`    // the request is invalid, as opposed to the state
	Changing *api.ChangeStatus `json:"changing,omitempty"` // the change in progress
	Lock     *api.LockStatus   `json:"lock,omitempty"`     // the lock for another run
	// Moved says that the next daemon has taken over meanwhile, which may accept the request. An
	// older client reports the error.
	Moved bool `json:"moved,omitempty"`
}
