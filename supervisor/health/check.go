// Package health checks whether a worker serves requests, over connections that the caller dials or
// by a command that the caller runs.
//
// It speaks HTTP/1.1 and the uwsgi protocol. A check always ends, reads a bounded part of any
// answer, and gives the reason for a failure in one sentence for the person on call. It does not
// know which worker answers, how often to check, or what follows from the result.
package health

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Kind is the way in which a check contacts a worker.
type Kind string

// The kinds of check.
const (
	HTTP Kind = "http" // a GET request on each listener
	TCP  Kind = "tcp"  // a connection to each listener, which the worker must accept
	Exec Kind = "exec" // a command, which must exit with 0
)

// Check describes a request and the answer that counts as healthy.
type Check struct {
	Kind      Kind          `json:"kind,omitempty"`      // "" = HTTP
	Listeners []string      `json:"listeners,omitempty"` // the listeners to check; none = all
	Timeout   time.Duration `json:"timeout"`             // of one check

	Protocol   string            `json:"protocol"`              // "http" or "uwsgi"
	Path       string            `json:"path"`                  // "/" when unset
	Host       string            `json:"host,omitempty"`        // Host header; "" = localhost
	Scheme     string            `json:"scheme,omitempty"`      // "https": pretend that a proxy terminated TLS
	Headers    map[string]string `json:"headers,omitempty"`     // in addition to those of every check
	Status     []int             `json:"status,omitempty"`      // healthy statuses; none = 2xx, or see AnyAnswer
	AnyAnswer  bool              `json:"any_answer,omitempty"`  // no path was configured: see healthy
	Contains   string            `json:"contains,omitempty"`    // text that the body must contain
	MaxLatency time.Duration     `json:"max_latency,omitempty"` // a slower answer is unhealthy; 0 = Timeout alone

	Command []string `json:"command,omitempty"` // of kind Exec
}

// Policy describes how the health of a process is checked: all of its checks must pass.
type Policy struct {
	// Check is the first check. It is embedded so that a daemon from before More can read the JSON.
	Check
	More []Check `json:"more,omitempty"`

	Interval     time.Duration `json:"interval"`      // from one round of checks to the next
	HealthyAfter int           `json:"healthy_after"` // successful rounds in a row that prove a generation
	// UnhealthyAfter is how long a starting worker may keep failing after its first answer; 0 =
	// until its start timeout.
	UnhealthyAfter time.Duration `json:"unhealthy_after,omitempty"`
	// Always configures the continuous check of live workers; nil = none.
	Always *Always `json:"always,omitempty"`
}

// Always is a continuous health check.
type Always struct {
	Interval time.Duration `json:"interval"`
	Failures int           `json:"failures"` // rounds in a row without an answer after which a worker is replaced
}

// Checks returns all checks in order.
func (p *Policy) Checks() []Check { return slices.Insert(slices.Clone(p.More), 0, p.Check) }

// HTTP returns the first HTTP check, or the zero Check if there is none.
func (p *Policy) HTTP() Check {
	for _, c := range p.Checks() {
		if c.Kind == "" || c.Kind == HTTP {
			return c
		}
	}
	return Check{}
}

// Paths returns the paths, without a query, of the HTTP checks that name themselves by UserAgent.
func (p *Policy) Paths() (paths []string) {
	if p == nil {
		return nil
	}
	for _, c := range p.Checks() {
		if c.Kind != "" && c.Kind != HTTP || c.headers()["User-Agent"] != UserAgent {
			continue
		}
		path, _, _ := strings.Cut(cmp.Or(c.Path, "/"), "?")
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// WithProtocol returns a copy of the policy in which checks without a protocol use the given one.
func (p *Policy) WithProtocol(protocol string) *Policy {
	spoken := *p
	spoken.More = slices.Clone(p.More)
	spoken.Protocol = cmp.Or(p.Protocol, protocol)
	for i := range spoken.More {
		spoken.More[i].Protocol = cmp.Or(spoken.More[i].Protocol, protocol)
	}
	return &spoken
}

// HasExec reports whether the policy has a check that runs a command.
func (p *Policy) HasExec() bool {
	return slices.ContainsFunc(p.Checks(), func(c Check) bool { return c.Kind == Exec })
}

// appliesTo reports whether the check applies to the listener.
func (c *Check) appliesTo(listener string) bool {
	return c.Kind != Exec && (len(c.Listeners) == 0 || slices.Contains(c.Listeners, listener))
}
