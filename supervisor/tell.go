package supervisor

import (
	"errors"
	"fmt"
	"time"
)

var errEndedBefore = errors.New("the daemon ended before the cutover")

// undertake notes that a change has found out where it goes and begins its work: from here on
// somebody is to be told of its end, if need be by the daemon after this one.
func (c *change) undertake() {
	if !c.hooked() {
		return
	}
	begun := c.outline()
	begun.Release, begun.Commit = c.plan.Release.Name, c.plan.Release.Commit
	_ = c.s.do(func() {
		owed := begun
		owed.Result, owed.Error = Aborted, errEndedBefore.Error()
		c.s.untold = &owed
	})
	c.begins = &begun
}

// tellBegun tells of the beginning, once the state file knows that its end is to be told too.
func (c *change) tellBegun() {
	if c.begins != nil && c.s.opt.Tell != nil {
		c.s.opt.Tell(*c.begins)
	}
	c.begins = nil
}

// outline is what is known of a change before it has done anything.
func (c *change) outline() Outcome {
	out := Outcome{
		Kind: string(c.req.Kind), Who: c.req.Who, Origin: c.req.Origin, Started: c.began, Release: c.req.Release,
		Steps: []Step{},
	}
	if c.was.release != nil {
		out.Previous, out.PreviousCommit = c.was.release.Name, c.was.release.Commit
	}
	if c.req.Kind == Rollback && c.was.previous != nil {
		out.Release, out.Commit = c.was.previous.Name, c.was.previous.Commit
	}
	return out
}

// finished is the end of the change that the daemon before this one has left unfinished, now that
// this start has finished or undone it; nil when there was none, or when it is the next daemon's to
// say.
func (c *change) finished(err error) (end *Outcome) {
	if c.req.Kind != start || errors.Is(err, ErrStopping) {
		return nil
	}
	_ = c.s.do(func() {
		if c.s.untold != nil {
			out := c.endOf(*c.s.untold, err)
			end = &out
		}
	})
	return end
}

// tellEnd tells how a change has ended, and returns whether that was it: the end of one that is
// live, but not through when the daemon stops, is the next daemon's to tell. A start tells of the
// change that it has finished for an earlier daemon, if any.
func (c *change) tellEnd(finished *Outcome, err error) (told bool) {
	if c.req.Kind != start && (!c.hooked() || err == nil && c.unchanged != "") {
		return true
	}
	if c.s.do(func() {}) != nil {
		return false // the owner has left everything to the next daemon
	}
	if errors.Is(err, ErrStopping) && (c.committed || c.req.Kind == start) {
		return false
	}
	out := c.outcome
	if c.req.Kind == start {
		out = finished
	}
	if out != nil && c.s.opt.Tell != nil {
		c.s.opt.Tell(*out)
	}
	return true
}

// endOf is how a change of an earlier daemon has ended, now that this one has finished or undone
// what was left of it.
func (c *change) endOf(owed Outcome, err error) Outcome {
	out := owed
	out.Steps, out.Seconds, out.Generation = c.steps, time.Since(owed.Started).Seconds(), c.outcome.Generation
	var rev *revertedError
	switch {
	case errors.As(err, &rev):
		out.Result, out.Error, out.Log = Reverted, c.errorText(err), c.outcome.Log
	case owed.Result == Done:
		out.Changed, out.Error = true, ""
		if err != nil { // it is live all the same, and started again until it works
			out.Warnings = append(out.Warnings, c.clean(fmt.Sprintf("since the daemon was started again: %v", err)))
		}
	}
	return out
}
