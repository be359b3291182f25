package supervisor

import (
	"errors"
	"fmt"
	"time"

	"superctl/api"
)

// announcements tells Options.Tell how a change begins and ends.
type announcements struct{ *change }

func (c *change) announce() announcements { return announcements{c} }

var errEndedBefore = errors.New("the daemon ended before the cutover")

// owe notes that a change has found out where it goes and begins its work: from here on
// its end is announced, if need be by the next daemon.
func (an announcements) owe() {
	if !an.hooks().apply() {
		return
	}
	begun := an.outline()
	begun.Release, begun.Commit = an.plan.Release.Name, an.plan.Release.Commit
	_ = an.owner.do(func() {
		owed := begun
		owed.Result, owed.Error = Aborted, errEndedBefore.Error()
		an.owner.owed = &owed
	})
	an.begins = &begun
}

// begin tells of the beginning, once the state file knows that its end is to be told too.
func (an announcements) begin() {
	if an.begins != nil && an.owner.opt.Tell != nil {
		an.owner.opt.Tell(*an.begins)
	}
	an.begins = nil
}

// outline is what is known of a change before it has done anything.
func (an announcements) outline() Outcome {
	out := Outcome{
		Kind: string(an.req.Kind), Who: an.req.Who, Origin: an.req.Origin, Started: an.began, Release: an.req.Release,
		DryRun: an.req.DryRun, Follower: an.req.Follower, Steps: []Step{},
	}
	if an.kind == api.Maintenance {
		out.Maintenance = api.MaintenanceOff
		if an.req.Maintenance != nil {
			out.Maintenance = api.MaintenanceOn
		}
	}
	if an.was.release != nil {
		out.Previous, out.PreviousCommit = an.was.release.Name, an.was.release.Commit
	}
	if an.req.Kind == Rollback && an.was.previous != nil {
		out.Release, out.Commit = an.was.previous.Name, an.was.previous.Commit
	}
	return out
}

// finished is the end of the change that the daemon before this one has left unfinished, now that
// this start has finished or undone it; nil when there was none, or when it is the next daemon's to
// say.
func (an announcements) finished(err error) (end *Outcome) {
	if an.req.Kind != start || errors.Is(err, ErrStopping) {
		return nil
	}
	_ = an.owner.do(func() {
		if an.owner.owed != nil {
			out := an.endOf(*an.owner.owed, err)
			end = &out
		}
	})
	return end
}

// end tells how a change has ended, and returns whether that was it: the end of one that is
// live, but not through when the daemon stops, is the next daemon's to tell. A start tells of the
// change that it has finished for an earlier daemon, if any.
func (an announcements) end(finished *Outcome, err error) (told bool) {
	if an.req.Kind != start && (!an.hooks().apply() && an.kind != api.Maintenance || an.unchanged != "") {
		return true
	}
	if an.owner.do(nothing) != nil {
		return false // the owner has left everything to the next daemon
	}
	if an.goesOn(err) {
		return false
	}
	out := an.outcome
	if an.req.Kind == start {
		out = finished
	}
	if out != nil && an.owner.opt.Tell != nil {
		an.owner.opt.Tell(*out)
	}
	return true
}

// goesOn reports whether the daemon stops while a change is live, but not through, or during its own start:
// the next daemon finishes it, or starts what is to be live.
func (an announcements) goesOn(err error) bool {
	return errors.Is(err, ErrStopping) && (an.committed || an.req.Kind == start)
}

// endOf is how a change of an earlier daemon has ended, now that this one has finished or undone
// what was left of it.
func (an announcements) endOf(owed Outcome, err error) Outcome {
	out := owed
	out.Steps, out.Seconds, out.Generation = an.steps, max(0, time.Since(owed.Started).Seconds()), an.outcome.Generation
	var rev *revertedError
	switch {
	case errors.As(err, &rev):
		out.Result, out.Error, out.Log = Reverted, an.errorText(err), an.outcome.Log
	case owed.Result == Done:
		out.Changed, out.Error = true, ""
		if err != nil { // it is live all the same, and started again until it works
			out.Warnings = append(out.Warnings, an.clean(fmt.Sprintf("since the daemon was started again: %v", err)))
		}
	}
	return out
}
