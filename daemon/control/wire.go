// Package control is how commands talk to the daemon: HTTP and JSON over a unix socket, one version in every path.
//
// The server knows its peers by the kernel's word (SO_PEERCRED, unix(7)), bounds everything that a peer can ask of it, and
// takes a closed connection as "I no longer want this". It decides nothing: a Controller does.
package control

import (
	"context"

	"superctl/api"
)

// Version is the version of the wire format. A client and a server of different versions say so to each other.
const Version = "1"

// versionHeader carries Version in both directions.
const versionHeader = "Superctl-Api"

// The paths, behind the version.
const (
	pathStatus      = "/v" + Version + "/status"
	pathEnvironment = "/v" + Version + "/environment"
	pathChange      = "/v" + Version + "/change"
	pathLogs        = "/v" + Version + "/logs"
)

// Controller is what the server serves; *supervisor.Supervisor is one.
type Controller interface {
	Status() api.Status
	Environment() api.EnvironmentStatus
	Change(ctx context.Context, req api.Request, emit func(api.Event)) (*api.Outcome, error)
	Logs(ctx context.Context, q api.LogQuery, emit func(api.LogLine) error) error
}

// message is one line of the answer to a change: events, then one of the others.
type message struct {
	Event   *api.Event   `json:"event,omitempty"`
	Outcome *api.Outcome `json:"outcome,omitempty"`
	Refused *refusal     `json:"refused,omitempty"`
}

// refusal is why a change was not begun.
type refusal struct {
	Error    string            `json:"error"`
	Usage    bool              `json:"usage,omitempty"`    // the request is wrong, not the state that it met
	Changing *api.ChangeStatus `json:"changing,omitempty"` // the change that is in progress
}
