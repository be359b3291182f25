// Package health asks a worker whether it serves: over connections that the caller dials, or by a command that the caller runs.
//
// It speaks HTTP/1.1 and uWSGI's own protocol. A check always ends, reads a bounded part of any answer, and says what was
// wrong in one sentence that a person on call understands. It does not know which worker answers, how often to ask, or
// what follows from the answer.
package health

import (
	"cmp"
	"slices"
	"time"
)

// Kind is how a check asks.
type Kind string

// The kinds of check.
const (
	HTTP Kind = "http" // a GET request on each listener
	TCP  Kind = "tcp"  // a connection to each listener, which the worker must accept
	Exec Kind = "exec" // a command, which must exit with 0
)

// Check says what to ask and which answer is healthy.
type Check struct {
	Kind      Kind          `json:"kind,omitempty"`      // "" = HTTP
	Listeners []string      `json:"listeners,omitempty"` // where to ask; none = on each
	Timeout   time.Duration `json:"timeout"`             // of one check

	Protocol   string            `json:"protocol"`              // "http" or "uwsgi"
	Path       string            `json:"path"`                  // "/" when unset
	Host       string            `json:"host,omitempty"`        // Host header; "" = localhost
	Scheme     string            `json:"scheme,omitempty"`      // "https": the request says that it came to the proxy over TLS
	Headers    map[string]string `json:"headers,omitempty"`     // of the request, beside those that every check sends
	Status     []int             `json:"status,omitempty"`      // healthy statuses; none = 2xx, or see AnyAnswer
	AnyAnswer  bool              `json:"any_answer,omitempty"`  // no path was configured: see healthy
	Contains   string            `json:"contains,omitempty"`    // what the body must contain
	MaxLatency time.Duration     `json:"max_latency,omitempty"` // a later answer is not healthy; 0 = Timeout alone

	Command []string `json:"command,omitempty"` // of kind Exec
}

// Policy is how a process is asked for its health: all of its checks must pass.
type Policy struct {
	// Check is the first check. It is embedded so that its JSON is what a daemon without More understands.
	Check
	More []Check `json:"more,omitempty"`

	Interval     time.Duration `json:"interval"`      // from one round of checks to the next
	HealthyAfter int           `json:"healthy_after"` // rounds in a row that prove a generation
	// UnhealthyAfter is how long a starting worker may go on failing after its first answer; 0 = until its start timeout.
	UnhealthyAfter time.Duration `json:"unhealthy_after,omitempty"`
	// Always is how a live worker is asked on and on; nil = it is not.
	Always *Always `json:"always,omitempty"`
}

// Always is a continuous health check.
type Always struct {
	Interval time.Duration `json:"interval"`
	Failures int           `json:"failures"` // rounds in a row without an answer after which a worker is replaced
}

// Checks returns all checks, in their order.
func (p *Policy) Checks() []Check { return slices.Insert(slices.Clone(p.More), 0, p.Check) }

// HTTP returns the first check that asks by HTTP; the zero Check when there is none.
func (p *Policy) HTTP() Check {
	for _, c := range p.Checks() {
		if c.Kind == "" || c.Kind == HTTP {
			return c
		}
	}
	return Check{}
}

// Speaking returns the policy with the protocol filled in of those checks that name none.
func (p *Policy) Speaking(protocol string) *Policy {
	spoken := *p
	spoken.More = slices.Clone(p.More)
	spoken.Protocol = cmp.Or(p.Protocol, protocol)
	for i := range spoken.More {
		spoken.More[i].Protocol = cmp.Or(spoken.More[i].Protocol, protocol)
	}
	return &spoken
}

// Runs reports whether the policy has a check that runs a command.
func (p *Policy) Runs() bool {
	return slices.ContainsFunc(p.Checks(), func(c Check) bool { return c.Kind == Exec })
}

// Asks reports whether the check asks on that listener.
func (c *Check) Asks(listener string) bool {
	return c.Kind != Exec && (len(c.Listeners) == 0 || slices.Contains(c.Listeners, listener))
}
