package supervisor

import (
	"errors"
	"slices"
	"time"

	"superctl/api"

	"go.uber.org/zap"
)

// conclude says how the change ended.
func (an announcements) conclude(err error) *Outcome {
	outline := an.outline()
	out := &outline
	out.Result, out.Changed, out.Steps, out.Warnings, out.Seconds = Done, an.unchanged == "", an.steps, an.warnings, time.Since(an.began).Seconds()
	out.CutoverSeconds, out.Guard = an.turned.Seconds(), an.judged
	if out.Changed {
		out.Variables = an.differs
		out.Packages, out.Before = an.packages, an.before
	}
	out.Traffic = an.traffic.report(&an.plan)
	if an.plan.Release.Name != "" {
		out.Release, out.Commit = an.plan.Release.Name, an.plan.Release.Commit
	}
	_ = an.owner.do(func() {
		if an.owner.live != nil {
			out.Generation = an.owner.live.id
		}
	})
	if an.req.Cause != "" {
		out.Warnings = slices.Insert(slices.Clone(out.Warnings), 0, an.req.Cause)
	}
	if err == nil {
		return out
	}
	out.Changed = false
	out.Result = Aborted
	out.Error = an.errorText(err)
	var rev *revertedError
	if errors.As(err, &rev) {
		out.Result = Reverted
	}
	an.blame(out, err)
	return out
}

// blame says where a change has failed, and by what.
func (an announcements) blame(out *Outcome, err error) {
	var at *stepError
	if errors.As(err, &at) {
		out.FailedStep = at.step
	}
	var f *failure
	if !errors.As(err, &f) {
		return
	}
	out.Log, out.ExitCode, out.Culprit = an.cleanAll(f.log), f.exit, f.culprit
	if out.Culprit == "" && len(f.log) > 0 {
		out.Culprit = api.Worker
	}
}

// overtake is the outcome of a rollback that ended another change's probation or canary. Its times are
// the rollback's own.
func overtake(c *change, req Request, began time.Time) *Outcome {
	out := *c.outcome
	out.Kind, out.Who, out.Origin = string(Rollback), req.Who, req.Origin
	out.Started, out.Seconds, out.CutoverSeconds = began, time.Since(began).Seconds(), 0
	if out.Result == Reverted || out.Result == Aborted {
		out.Result, out.Changed = Done, true
		out.Release, out.Previous, out.Commit, out.PreviousCommit = out.Previous, out.Release, out.PreviousCommit, out.Commit
		out.Error, out.Log = "", nil
	}
	return &out
}

func (an announcements) log(err error) {
	ended := []zap.Field{
		zap.String("kind", string(an.req.Kind)), zap.String("who", an.req.By(an.req.Who)),
		zap.String("release", an.plan.Release.Name),
	}
	if err != nil {
		ended = append(ended, zap.String("error", an.errorText(err)))
	}
	an.owner.log.Info("change ended", ended...)
}

// record writes an outcome to the history, unless nothing has changed, it will be tried again, or it is
// the next daemon's to say.
func (an announcements) record(out *Outcome, failed error) {
	if an.owner.opt.Record == nil || an.goesOn(failed) || !an.outcome.Changed && failed == nil || an.firstStart().retries(failed) ||
		an.req.DryRun || mistyped(failed) || yielded(failed) {
		return
	}
	if err := an.owner.recorder.record(*out); err != nil {
		an.owner.log.Error("record history", zap.Error(err))
		an.outcome.Warnings = append(an.outcome.Warnings, "the history could not be written, and is tried again: "+err.Error())
	}
}

// mistyped reports whether a change was asked to go to a release that there is not, or from one that
// is not live: only its client needs to know.
func mistyped(err error) bool {
	var none *NoSuchReleaseError
	var other *unexpectedError
	return errors.As(err, &none) || errors.As(err, &other)
}
