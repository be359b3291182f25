// Package control is the protocol between commands and the daemon: HTTP and JSON over a unix
// socket, with a version in every path.
//
// The server identifies its peers by the kernel's credentials (SO_PEERCRED, unix(7)), and bounds what
// each peer can ask of it. It decides nothing itself: a Controller does.
//
// A closed connection ends what its request asked for. Only a change continues whose request has a
// token (tokenHeader): the user may have lost an ssh connection in the middle of a migration. Its
// client withdraws the request explicitly when the user wants to cancel. A request without a token is
// of a client that depends on the outcome, or of one that is older than this rule.
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

// appHeader carries the name of the app that a client means, and in the answer to a request for another
// app that of the daemon: the config of a copied site may still name the control socket of the original.
const appHeader = "Superctl-App"

// tokenHeader carries the token by which the client of a change can withdraw it. An older daemon ignores
// it, and cancels when the connection ends.
const tokenHeader = "Superctl-Token"

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
	pathAttach      = "/v" + Version + "/attach"
	pathCancel      = "/v" + Version + "/cancel"
	pathWithdraw    = "/v" + Version + "/withdraw"
)

// Controller executes the requests; *supervisor.Supervisor does most of that.
type Controller interface {
	// App returns the name of the app.
	App() string
	Status() api.Status
	Measures() api.Measures
	// History returns the newest changes, newest first.
	History() ([]api.PastChange, error)
	Environment() api.EnvironmentStatus
	Change(ctx context.Context, req api.Request, emit func(api.Event)) (*api.Outcome, error)
	Go(change string) error
	// Attach follows the change in progress to its end, or to that of ctx.
	Attach(ctx context.Context, emit func(api.Event)) (*api.Attached, error)
	// Cancel cancels the change in progress, and waits until it has ended, or ctx has.
	Cancel(ctx context.Context, req api.CancelRequest) (*api.Canceled, error)
	Lock(ctx context.Context, l api.Lock, locked func()) error
	// Announce notifies the team of the end of a run over several hosts.
	Announce(r api.RunReport) error
	Signal(req api.SignalRequest) (*api.Signaled, error)
	// RunCron runs a scheduled command to its end, or to that of ctx.
	RunCron(ctx context.Context, req api.CronRequest, emit func(api.Event)) (*api.CronRun, error)
	Logs(ctx context.Context, q api.LogQuery, emit func(api.LogLine) error) error
}

// message is one line of the answer to a change, to one that follows it, or to the run of a scheduled
// command: any number of events, then an outcome or a refusal.
type message struct {
	Event    *api.Event    `json:"event,omitempty"`
	Outcome  *api.Outcome  `json:"outcome,omitempty"`
	Ran      *api.CronRun  `json:"ran,omitempty"`      // of a scheduled command
	Attached *api.Attached `json:"attached,omitempty"` // of a client that follows
	Refused  *refusal      `json:"refused,omitempty"`
}

// cancelAnswer is the answer to a cancel: one of the two.
type cancelAnswer struct {
	Canceled *api.Canceled `json:"canceled,omitempty"`
	Refused  *refusal      `json:"refused,omitempty"`
}

// withdrawRequest withdraws the change with that token: one that has not begun does not begin, and one
// before its cutover is canceled.
type withdrawRequest struct {
	Token string `json:"token"`
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
