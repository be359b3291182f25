package supervisor

import (
	"context"
	"fmt"
	"strings"
)

// resolution finds out where a change goes.
type resolution struct{ *change }

func (c *change) resolution() resolution { return resolution{c} }

// find finds out where the change goes.
func (rs resolution) find(ctx context.Context) (string, error) {
	if rs.kind == Rollback && !rs.meetsExpectation() {
		return rs.leaveLive()
	}
	if err := rs.choose(ctx); err != nil {
		return "", err
	}
	detail := rs.plan.Release.Name
	if rs.plan.Release.Commit != "" {
		detail += " (" + short(rs.plan.Release.Commit) + ")"
	}
	switch {
	case rs.replaced():
		detail += ", whose directory was replaced since it went live"
	case rs.isLive():
		if rs.revives = rs.isDown(); rs.revives {
			rs.kind = Restart
			rs.checking().start()
			return detail + " is live and does not serve", rs.checking().wait()
		}
		rs.unchanged = detail + " is live already"
		return rs.unchanged, nil
	case !rs.meetsExpectation():
		return "", &unexpectedError{rs.req.Expect, rs.was.release}
	case rs.warm:
		return detail + fmt.Sprintf(", generation %d is still warm", rs.to.id), nil
	}
	rs.checking().start()
	if rs.bootsFirst() {
		return detail, nil
	}
	return detail, rs.checking().wait()
}

// isLive reports whether the change is a switch to the release that is live.
func (rs resolution) isLive() bool {
	return rs.req.Kind == Switch && rs.from != nil && rs.from.plan.Release.Path == rs.plan.Release.Path
}

// replaced reports whether it is one by name, and its directory is another one by now.
func (rs resolution) replaced() bool {
	was, is := "", rs.plan.Release.Directory
	if rs.isLive() {
		was = rs.from.plan.Release.Directory
	}
	return was != "" && is != "" && was != is
}

// choose finds the plan of the release that the change goes to.
func (rs resolution) choose(ctx context.Context) error {
	switch {
	case rs.kind == Restart:
		rs.plan = rs.from.plan
		if err := rs.owner.startable(rs.plan.Release); err != nil {
			return err
		}
	case rs.keptWarm():
		rs.warm, rs.plan = true, rs.to.plan
	default:
		thaw, err := rs.owner.freeze(ctx)
		if err != nil {
			return err
		}
		defer thaw() // when rs.release says which it is
		if err := rs.askForPlan(ctx); err != nil {
			return err
		}
	}
	if rs.from != nil {
		rs.differs = rs.from.plan.differences(&rs.plan)
	}
	return rs.noteRelease()
}

// noteRelease has the owner know where the change goes: to the release of its plan.
func (rs resolution) noteRelease() error {
	return rs.owner.do(func() { rs.release = rs.plan.Release })
}

func (rs resolution) askForPlan(ctx context.Context) (err error) {
	t := Target{Kind: rs.req.Kind, Word: rs.req.Release, Live: rs.was.release, Previous: rs.was.previous, DryRun: rs.req.DryRun}
	if rs.from == nil {
		t.Live = nil
	}
	if rs.plan, err = rs.owner.opt.Resolve(ctx, t); err != nil {
		return err
	}
	rs.keepValues(&rs.plan)
	for _, text := range rs.plan.Warnings {
		rs.warn("%s", text)
	}
	return nil
}

// keptWarm finds the generation that a rollback can go back to in an instant.
func (rs resolution) keptWarm() bool {
	if rs.req.Kind != Rollback {
		return false
	}
	_ = rs.owner.do(func() {
		for _, g := range ordered(rs.owner.generations) {
			if g.state == Standby && g.plan.Release.Path == rs.was.previous.Path && g.lacks() == "" &&
				g.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }) {
				rs.to = g
			}
		}
	})
	return rs.to != nil
}

// isDown reports whether the live generation has a listener that does not answer. Troubles around
// the app are not meant: a start of its workers would not help.
func (rs resolution) isDown() bool {
	return ask(rs.owner.core, func() bool {
		v := verdict{health: HealthOK}
		rs.owner.health.judgeLive(&v)
		return v.health == HealthDown
	})
}

// bootsFirst reports whether the boot of the new workers is the first thing that the change does.
// Whatever is done before it, such as hooks, needs a release that is known to be sound.
func (rs resolution) bootsFirst() bool {
	return !rs.hooks().runsBefore() && !rs.roll().applies() && !rs.hold().applies() && len(rs.plan.Inspect) == 0
}

// freeze keeps the releases where they are while one of them is chosen.
func (co *core) freeze(ctx context.Context) (thaw func(), err error) {
	if co.opt.Freeze == nil {
		return func() {}, nil
	}
	return co.opt.Freeze(ctx)
}

func short(commit string) string { return commit[:min(len(commit), 10)] }

// rehearse is what a dry run does when the release is found: it makes the checks that need no
// worker.
func (rs resolution) rehearse() error {
	if rs.unchanged != "" || rs.revives {
		return nil
	}
	rs.describe()
	return oneByOne(rs.canary().refuse, rs.inspect, rs.checking().wait)
}

// describe finds out what a change would do in addition to turning the gates, for its dry run.
func (rs resolution) describe() {
	if rs.hooks().runsBefore() {
		for _, argv := range rs.hooks().mine(stepBefore, rs.plan.Hooks.Before) {
			rs.before = append(rs.before, rs.clean(strings.Join(argv, " ")))
		}
	}
	if rs.from == nil || rs.owner.opt.Packages == nil {
		return
	}
	packages, err := rs.owner.opt.Packages(rs.from.plan.Release, rs.plan.Release)
	if err != nil {
		rs.warn("the packages cannot be compared: %v", err)
	}
	rs.packages = packages
}
