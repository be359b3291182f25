package health

import (
	"context"
	"net"
	"time"
)

// Subject is who is asked for its health.
type Subject struct {
	Listeners []Listener
	// Command runs a command in the subject's release, as its user and with its environment; line gets what it writes.
	Command func(ctx context.Context, argv []string, line func(string)) error
}

// Listener is one on which the subject accepts connections.
type Listener struct {
	Name string
	Dial func(context.Context) (net.Conn, error)
	// Queued returns how many connections the kernel has completed that no worker has accepted.
	Queued func() (int, error)
}

// Ask runs one round: every check, on each listener that it is for. The result is that of the first that fails. A round
// without an answer is one in which no check got any.
func (p *Policy) Ask(ctx context.Context, s Subject) Result {
	began := time.Now()
	round := Result{OK: true}
	add := func(r Result) bool {
		round.OK, round.Status, round.Reason = r.OK, r.Status, r.Reason
		round.Answered = round.Answered || r.Answered
		return r.OK
	}
	for _, c := range p.Checks() {
		if !c.onEach(ctx, s, add) {
			break
		}
	}
	round.Took = time.Since(began)
	return round
}

// onEach runs one check where it is to be run, until one run fails.
func (c Check) onEach(ctx context.Context, s Subject, add func(Result) bool) bool {
	if c.Kind == Exec {
		return add(c.Exec(ctx, s.Command))
	}
	for _, l := range s.Listeners {
		if !c.Asks(l.Name) {
			continue
		}
		r := c.Run(ctx, l)
		if !r.OK && len(s.Listeners) > 1 {
			r.Reason = "listener " + l.Name + ": " + r.Reason
		}
		if !add(r) {
			return false
		}
	}
	return true
}
