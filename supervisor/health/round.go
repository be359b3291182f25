package health

import (
	"context"
	"net"
	"time"
)

// Subject is the worker, or the workers, under test.
type Subject struct {
	Listeners []Listener
	// Command runs a command in the subject's release, as its user and with its environment; line
	// receives its output.
	Command func(ctx context.Context, argv []string, line func(string)) error
}

// Listener is one of the subject's listeners.
type Listener struct {
	Name string
	Dial func(context.Context) (net.Conn, error)
	// Queued returns the length of the accept queue: connections that the kernel completed and no
	// worker accepted.
	Queued func() (int, error)
}

// RunAll runs one round: every check, on each of its listeners, up to the first failure. The result
// is that of the last check run. A round counts as unanswered if none of its checks got an answer.
func (p *Policy) RunAll(ctx context.Context, s Subject) Result {
	began := time.Now()
	round := Result{OK: true}
	add := func(r Result) bool {
		round.OK, round.Status, round.Reason = r.OK, r.Status, r.Reason
		round.Answered = round.Answered || r.Answered
		return r.OK
	}
	for _, c := range p.Checks() {
		if !c.runOnEach(ctx, s, add) {
			break
		}
	}
	round.Took = time.Since(began)
	return round
}

// runOnEach runs one check on each of its listeners until one run fails, and reports whether all
// passed.
func (c Check) runOnEach(ctx context.Context, s Subject, add func(Result) bool) bool {
	if c.Kind == Exec {
		return add(c.Exec(ctx, s.Command))
	}
	for _, l := range s.Listeners {
		if !c.appliesTo(l.Name) {
			continue
		}
		if ctx.Err() != nil {
			return add(Result{Reason: c.reason("%s", c.unfinishedReason(ctx))})
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
