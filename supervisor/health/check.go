// Package health asks a worker, over a connection that the caller dials, whether it serves.
//
// It speaks HTTP/1.1 and uWSGI's own protocol. A check always ends, reads a bounded part of any answer, and says what was
// wrong in one sentence that a person on call understands. It does not know which worker answers, how often to ask, or
// what follows from the answer.
package health

import "time"

// Check says what to ask and which answer is healthy.
type Check struct {
	Protocol     string        `json:"protocol"`             // "http" or "uwsgi"
	Path         string        `json:"path"`                 // "/" when unset
	Host         string        `json:"host,omitempty"`       // Host header; "" = localhost
	Status       []int         `json:"status,omitempty"`     // healthy statuses; none = any below 500 without a path in the config, else 200 to 399
	Contains     string        `json:"contains,omitempty"`   // what the body must contain
	Timeout      time.Duration `json:"timeout"`              // of one check
	Interval     time.Duration `json:"interval"`             // from one check to the next
	HealthyAfter int           `json:"healthy_after"`        // passes in a row that prove a generation
	AnyAnswer    bool          `json:"any_answer,omitempty"` // no path was configured: any status below 500 will do
}
