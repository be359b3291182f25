package supervisor

import (
	"context"
	"fmt"
	"slices"

	"superctl/api"
	"superctl/plain"
)

// The steps of a change, in order (DESIGN 6).
const (
	beforeSteps   = "begin" // the name of what comes before the first one
	stepAdopt     = api.StepAdopt
	stepResolve   = api.StepResolve
	stepShare     = api.StepShare
	stepInspect   = api.StepInspect
	stepBefore    = api.StepBefore
	stepPublish   = api.StepPublish
	stepPreflight = api.StepPreflight
	stepBoot      = api.StepBoot
	stepProve     = api.StepProve
	stepCanary    = api.StepCanary
	stepReady     = api.StepReady
	stepWithdraw  = api.StepWithdraw
	stepCutover   = api.StepCutover
	stepFollow    = api.StepFollow
	stepSettle    = api.StepSettle
	stepProbation = api.StepProbation
	stepRetire    = api.StepRetire
	stepAfter     = api.StepAfter
	stepOnAbort   = api.StepOnAbort
	stepOnRevert  = api.StepOnRevert
	stepRevert    = api.StepRevert
	stepRestart   = api.StepRestart
	stepScale     = api.StepScale
	stepPause     = api.StepPause
	stepResume    = api.StepResume
	stepQuiesce   = api.StepQuiesce
	stepHold      = api.StepHold
	stepRoll      = api.StepRoll
	stepDrain     = api.StepDrain
	stepComeBack  = api.StepComeBack
)

// perform is the transaction. Whatever fails before the cutover leaves the live generation as it
// was; whatever fails after it turns the gate back.
func (c *change) perform() error {
	switch {
	case c.req.Kind == start:
		return c.firstStart().perform()
	case c.req.Kind == api.Maintenance:
		return c.maintaining().perform()
	case c.req.Kind == Restart && !c.restartsListener():
		return c.step(stepRestart, c.restartInPlace)
	case c.req.Kind == Scale && c.scaling().shrinks() != "":
		return c.scaling().shrink()
	case c.req.Kind == Scale:
		return c.scaling().perform()
	case c.req.Kind == Pause:
		return c.inPlace(stepPause, c.scaling().pause)
	case c.req.Kind == Resume:
		return c.inPlace(stepResume, c.scaling().resumePaused)
	}
	return c.turnOver()
}

// turnOver is a change with a generation of its own.
func (c *change) turnOver() error {
	if err := c.step(stepResolve, c.resolution().find); err != nil {
		return err
	}
	if c.req.DryRun {
		return c.resolution().rehearse()
	}
	if c.unchanged != "" {
		return c.awaitGo()
	}
	if c.revives {
		return oneByOne(c.awaitGo, func() error { return c.inPlace(stepRestart, c.revive) })
	}
	c.announce().owe()
	c.count().atBegin()
	if err := oneByOne(c.canary().refuse, c.share, c.inspect); err != nil {
		return err
	}
	switch {
	case c.roll().applies():
		return c.roll().turnOver()
	case c.hold().applies():
		return c.hold().turnOver()
	}
	if err := c.stage(); err != nil {
		return c.undo().abandon(err)
	}
	if c.owner.opt.Trial {
		return c.undo().stopStaged()
	}
	if err := c.step(stepCutover, c.cutover); err != nil {
		return c.undo().abandon(err)
	}
	return c.finish(nil)
}

// oneByOne runs steps until one fails.
func oneByOne(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// finish is what comes after the cutover: first, if there is one, and then what every change has.
func (c *change) finish(first func() error) error {
	if first != nil {
		if err := first(); err != nil {
			return c.undo().revert(err)
		}
	}
	c.count().afterTurn()
	if err := c.follow(); err != nil {
		return c.undo().revert(err)
	}
	c.count().atEnd()
	if err := c.retireOld(); err != nil {
		return err
	}
	c.hooks().after()
	return nil
}

// inPlace is a change of one step within the live generation.
func (c *change) inPlace(name string, do func(context.Context) (string, error)) error {
	c.plan = c.from.plan
	if err := c.owner.do(func() { c.to, c.release = c.from, c.plan.Release }); err != nil {
		return err
	}
	return c.step(name, do)
}

// stage is all that comes before the cutover, and falls away when the generation is still warm.
func (c *change) stage() error {
	if c.warm {
		// While it has no traffic: none of several that accept from one listener can be stopped
		// later without a loss.
		if err := c.scaling().fit(c.to); err != nil {
			return err
		}
	}
	if c.warm && !c.plan.Hooks.BeforeRollback {
		return c.awaitGo()
	}
	if err := c.prepareRelease(); err != nil {
		return err
	}
	if c.warm {
		return c.awaitGo()
	}
	if c.shared() {
		if err := c.step(stepPreflight, c.trial().preflight); err != nil {
			return err
		}
		if err := c.awaitGo(); err != nil { // from here on the new workers take connections
			return err
		}
	}
	if err := c.step(stepBoot, c.boot); err != nil {
		return err
	}
	if err := c.step(stepProve, func(ctx context.Context) (string, error) { return c.prove(ctx, c.to) }); err != nil {
		return err
	}
	if c.req.Canary != nil {
		if err := c.step(stepCanary, c.canary().perform); err != nil {
			return err
		}
	}
	return c.awaitGo()
}

// follow is all that comes between the cutover and the certainty that the new generation stays.
func (c *change) follow() error {
	if c.background().any(c.to) {
		if err := c.step(stepFollow, c.background().follow); err != nil {
			return err
		}
	}
	if c.from != nil && !c.staysWarm() && !c.from.held {
		if err := c.step(stepSettle, func(ctx context.Context) (string, error) {
			return c.settle(ctx, c.from)
		}); err != nil {
			return err
		}
	}
	if c.plan.Probation > 0 && !c.warm && !c.req.Recycle { // a recycled worker runs what has run before
		if c.req.Kind == start {
			c.owner.startup.decide() // a probation that goes on for an earlier daemon may last, and the app serves
		}
		return c.step(stepProbation, c.watch().run)
	}
	return nil
}

// boot starts the new generation without traffic.
func (c *change) boot(context.Context) (string, error) {
	only := ""
	if c.kind == Restart {
		only = c.req.Process
	}
	if err := c.owner.try(func() error {
		c.to = c.owner.newGeneration(c.plan, c.gates(), only)
		return c.to.openListeners()
	}); err != nil {
		return "", err
	}
	return fmt.Sprintf("generation %d", c.to.id), c.stageWorkers(c.to)
}

// stageWorkers starts the workers of a generation that have listeners, once the next daemon would
// know the places of these.
func (c *change) stageWorkers(g *generation) error {
	if err := c.save().now(); err != nil && !c.save().goesOnUnsaved() {
		return err
	}
	return c.owner.do(g.wantListening)
}

// gates are those of the generation that the change makes. A restart keeps the config that the
// workers were started with, and so its listeners.
func (c *change) gates() map[string]Gate {
	if c.kind == Restart || c.inherits {
		return c.from.gates
	}
	return c.owner.listeners.gates
}

// prove waits until every worker with a listener has proved itself, or one has failed.
func (c *change) prove(ctx context.Context, g *generation) (string, error) {
	told := ""
	err := c.owner.await(ctx, func() (bool, error) {
		if g.failure != nil {
			return false, g.failure
		}
		if text := waitingFor(g); text != told && text != "" {
			told = text
			c.emit(Event{Type: "progress", Step: stepProve, Detail: text})
		}
		return g.state == Staged, nil
	})
	if err = c.checking().orFailed(err); err != nil {
		return "", err
	}
	checks := 0
	for i := range c.plan.Processes {
		if h := c.plan.Processes[i].Health; h != nil {
			checks += h.HealthyAfter
		}
	}
	if checks == 0 {
		return "ready", nil
	}
	return "healthy " + plain.Count(checks, "time", "times in a row"), nil
}

// waitingFor is what the generation has not shown yet.
func waitingFor(g *generation) string {
	for _, in := range g.instances {
		if in.state == InstanceStarting {
			if trouble := g.trouble(in.lane()); trouble != "" {
				return in.lane() + ": " + trouble
			}
			if in.says != "" {
				return in.String() + ": " + in.says
			}
		}
	}
	return ""
}

// sharedGate reports whether a process accepts from a queue that all generations share.
func (g *generation) sharedGate(p *Process) bool {
	return slices.ContainsFunc(p.Listen, func(name string) bool {
		return sharesQueue(g.gates[name])
	})
}

// shared reports whether any process of the plan is behind a shared gate.
func (c *change) shared() bool {
	g := generation{gates: c.gates()}
	return slices.ContainsFunc(c.plan.Processes, func(p Process) bool { return g.sharedGate(&p) })
}
