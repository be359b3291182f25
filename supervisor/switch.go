package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"superctl/supervisor/health"
)

// The steps of a change, in order (DESIGN 6).
const (
	beforeSteps   = "begin" // the name of what comes before the first one
	stepAdopt     = "adopt"
	stepResolve   = "resolve"
	stepInspect   = "migrations"
	stepBefore    = "before"
	stepPreflight = "preflight"
	stepBoot      = "boot"
	stepProve     = "prove"
	stepCanary    = "canary"
	stepWithdraw  = "withdraw"
	stepCutover   = "cutover"
	stepFollow    = "follow"
	stepSettle    = "settle"
	stepProbation = "probation"
	stepRetire    = "retire"
	stepAfter     = "after"
	stepOnAbort   = "on_abort"
	stepOnRevert  = "on_revert"
	stepRevert    = "revert"
	stepRestart   = "restart"
	stepScale     = "scale"
	stepPause     = "pause"
	stepResume    = "resume"
	stepQuiesce   = "quiesce"
	stepHold      = "hold"
	stepRoll      = "roll"
	stepDrain     = "drain"
	stepComeBack  = "come back"
)

// perform is the transaction. Whatever fails before the cutover leaves the live generation as it was; whatever fails
// after it turns the gate back.
func (c *change) perform() error {
	switch {
	case c.req.Kind == start:
		return c.performStart()
	case c.req.Kind == Restart && !c.restartsListener():
		return c.step(stepRestart, c.restartInPlace)
	case c.req.Kind == Scale && c.shrinks() != "":
		return c.shrink()
	case c.req.Kind == Scale:
		return c.rescaleAsked()
	case c.req.Kind == Pause:
		return c.inPlace(stepPause, c.pause)
	case c.req.Kind == Resume:
		return c.inPlace(stepResume, c.resumePaused)
	}
	return c.turnOver()
}

// turnOver is a change with a generation of its own.
func (c *change) turnOver() error {
	if err := c.step(stepResolve, c.resolve); err != nil || c.unchanged != "" {
		return err
	}
	if err := c.mayTry(); err != nil {
		return err
	}
	if err := c.inspect(); err != nil {
		return err
	}
	if c.rolls() {
		if err := c.replaceRolling(); err != nil {
			return c.abandonRoll(err)
		}
		return c.finish(nil)
	}
	if c.holds() {
		if err := c.replaceHeld(); err != nil {
			return c.comeBack(err)
		}
		return c.finish(c.firstAnswer)
	}
	if err := c.stage(); err != nil {
		return c.abandon(err)
	}
	if err := c.step(stepCutover, c.cutover); err != nil {
		return c.abandon(err)
	}
	return c.finish(nil)
}

// finish is what comes after the cutover: first, if there is one, and then what every change has.
func (c *change) finish(first func() error) error {
	if first != nil {
		if err := first(); err != nil {
			return c.revert(err)
		}
	}
	if err := c.follow(); err != nil {
		return c.revert(err)
	}
	if err := c.step(stepRetire, c.retire); err != nil {
		return err
	}
	c.afterHooks()
	return nil
}

// inPlace is a change of one step within the live generation.
func (c *change) inPlace(name string, do func(context.Context) (string, error)) error {
	c.plan = c.from.plan
	if err := c.s.do(func() { c.to, c.release = c.from, c.plan.Release }); err != nil {
		return err
	}
	return c.step(name, do)
}

// stage is all that comes before the cutover, and falls away when the generation is still warm.
func (c *change) stage() error {
	if c.warm {
		// While it has no traffic: none of several that accept from one listener can be stopped later without a loss.
		if err := c.fit(c.to); err != nil {
			return err
		}
	}
	if c.warm && !c.plan.Hooks.BeforeRollback {
		return nil
	}
	if err := c.beforeHooks(); err != nil {
		return err
	}
	if c.warm {
		return nil
	}
	if c.shared() {
		if err := c.step(stepPreflight, c.preflight); err != nil {
			return err
		}
	}
	if err := c.step(stepBoot, c.boot); err != nil {
		return err
	}
	if err := c.step(stepProve, func(ctx context.Context) (string, error) { return c.prove(ctx, c.to) }); err != nil || c.req.Canary == nil {
		return err
	}
	return c.step(stepCanary, c.canary)
}

// follow is all that comes between the cutover and the certainty that the new generation stays.
func (c *change) follow() error {
	if c.background(c.to) {
		if err := c.step(stepFollow, c.startBackground); err != nil {
			return err
		}
	}
	if c.from != nil && !c.staysWarm() && !c.from.held {
		if err := c.step(stepSettle, func(ctx context.Context) (string, error) { return c.settle(ctx, c.from) }); err != nil {
			return err
		}
	}
	if c.plan.Probation > 0 && !c.warm {
		if c.req.Kind == start {
			c.s.decided() // a probation that goes on for an earlier daemon may last, and the app serves
		}
		return c.step(stepProbation, c.probation)
	}
	return nil
}

// resolve finds out where the change goes.
func (c *change) resolve(ctx context.Context) (string, error) {
	t := Target{Kind: c.req.Kind, Word: c.req.Release, Live: c.was.release, Previous: c.was.previous}
	if c.from == nil {
		t.Live = nil
	}
	if c.kind == Restart {
		c.plan = c.from.plan
	} else if c.keptWarm() {
		c.warm, c.plan = true, c.to.plan
	} else {
		plan, err := c.s.opt.Resolve(ctx, t)
		if err != nil {
			return "", err
		}
		c.plan = plan
	}
	if err := c.s.do(func() { c.release = c.plan.Release }); err != nil {
		return "", err
	}
	detail := c.plan.Release.Name
	if c.plan.Release.Commit != "" {
		detail += " (" + short(c.plan.Release.Commit) + ")"
	}
	switch {
	case c.req.Kind == Switch && c.from != nil && c.from.plan.Release.Path == c.plan.Release.Path:
		c.unchanged = detail + " is live already"
		return c.unchanged, nil
	case c.warm:
		detail += fmt.Sprintf(", generation %d is still warm", c.to.id)
	}
	return detail, nil
}

func short(commit string) string { return commit[:min(len(commit), 10)] }

// keptWarm finds the generation that a rollback can go back to in an instant.
func (c *change) keptWarm() bool {
	if c.req.Kind != Rollback {
		return false
	}
	_ = c.s.do(func() {
		for _, g := range c.s.generations {
			if g.state == Standby && g.plan.Release.Path == c.was.previous.Path && g.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }) {
				c.to = g
			}
		}
	})
	return c.to != nil
}

// boot starts the new generation without traffic.
func (c *change) boot(context.Context) (string, error) {
	only := ""
	if c.kind == Restart {
		only = c.req.Process
	}
	var err error
	if stopped := c.s.do(func() {
		c.to = c.s.newGeneration(c.plan, c.s.gates, only)
		err = c.s.stage(c.to)
	}); stopped != nil {
		return "", stopped
	}
	return fmt.Sprintf("generation %d", c.to.id), err
}

// prove waits until every worker with a listener has proved itself, or one has failed.
func (c *change) prove(ctx context.Context, g *generation) (string, error) {
	told := ""
	err := c.s.await(ctx, func() (bool, error) {
		if g.failure != nil {
			return false, g.failure
		}
		if text := waitingFor(g); text != told && text != "" {
			told = text
			c.emit(Event{Type: "progress", Step: stepProve, Detail: text})
		}
		return g.state == Staged, nil
	})
	if err != nil {
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
	return fmt.Sprintf("healthy %d times in a row", checks), nil
}

// waitingFor is what the generation has not shown yet.
func waitingFor(g *generation) string {
	for _, in := range g.instances {
		if in.state == InstanceStarting {
			if trouble := g.trouble(in.proc.Name); trouble != "" {
				return in.proc.Name + ": " + trouble
			}
			if in.says != "" {
				return in.String() + ": " + in.says
			}
		}
	}
	return ""
}

// cutover turns every gate, and with that makes the change one that only a revert can undo.
func (c *change) cutover(context.Context) (string, error) {
	var took time.Duration
	var err error
	if stopped := c.s.do(func() { took, err = c.s.cutOver(c) }); stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", err
	}
	c.point(c.plan.Release)
	return fmt.Sprintf("%.2f ms", float64(took.Microseconds())/1000), nil
}

// cutOver is the cutover as the owner does it.
func (s *Supervisor) cutOver(c *change) (time.Duration, error) {
	if cause := context.Cause(c.ctx); cause != nil {
		return 0, cause
	}
	if c.to.failure != nil {
		return 0, c.to.failure
	}
	began := time.Now()
	if err := s.turnGates(c.to, c.from); err != nil {
		return 0, err
	}
	took := time.Since(began)
	c.to.canary = nil
	if c.from != nil {
		s.transit(c.from, superseded)
		c.carry(c.from, c.to)
		for _, in := range c.from.instances {
			if c.from.sharedGate(in.proc) {
				s.unwant(in) // it accepts from the same queue as the new one for as long as it runs
			}
		}
	}
	s.transit(c.to, cutOver)
	s.commit(c)
	return took, nil
}

// commit makes the generation that a change goes to the live one, for good: from here on only a revert undoes the change.
func (s *Supervisor) commit(c *change) {
	c.committed = true
	s.live = c.to
	s.release = &c.plan.Release
	if c.was.release != nil && c.was.release.Path != c.plan.Release.Path {
		s.previous = c.was.release
	}
	if err := s.save(); err != nil {
		c.warnings = append(c.warnings, "the cutover is not durable: "+err.Error())
	}
}

// carry hands the instances of processes that a restart does not touch from one generation to the other, which has none.
func (c *change) carry(from, to *generation) {
	if c.kind != Restart {
		return
	}
	restarted := make(map[string]bool)
	for _, in := range to.instances {
		restarted[in.proc.Name] = true
	}
	kept := from.instances[:0:0]
	for _, in := range from.instances {
		if restarted[in.proc.Name] {
			kept = append(kept, in)
			continue
		}
		in.gen = to
		to.instances = append(to.instances, in)
		for _, name := range in.proc.Listen {
			if from.staged[name] != 0 {
				to.staged[name] = from.staged[name]
			}
		}
	}
	from.instances = kept
	maps.DeleteFunc(from.staged, func(name string, _ int) bool {
		return !slices.ContainsFunc(kept, func(in *instance) bool { return slices.Contains(in.proc.Listen, name) })
	})
}

// point makes the `current` link follow; a link that cannot be moved does not undo what serves.
func (c *change) point(r Release) {
	if c.s.opt.Point == nil {
		return
	}
	if err := c.s.opt.Point(r); err != nil {
		c.warn("%v", err)
	}
}

// sharedGate tells whether a process accepts from a queue that all generations share.
func (g *generation) sharedGate(p *Process) bool {
	return slices.ContainsFunc(p.Listen, func(name string) bool { return g.gates[name] != nil && g.gates[name].Kind() == "shared" })
}

// shared tells whether any process of the plan is behind a shared gate.
func (c *change) shared() bool {
	g := generation{gates: c.s.gates}
	return slices.ContainsFunc(c.plan.Processes, func(p Process) bool { return g.sharedGate(&p) })
}

// background tells whether the generation has processes that follow the cutover.
func (c *change) background(g *generation) bool {
	return c.kind != Restart && slices.ContainsFunc(g.instances, func(in *instance) bool { return len(in.proc.Listen) == 0 })
}

// startBackground starts the processes without listeners, in the order of the plan. When a daemon starts there may be nothing
// to go back to.
func (c *change) startBackground(ctx context.Context) (string, error) {
	if c.from == nil && c.req.Kind == start {
		return c.serveBackground(ctx, c.to)
	}
	return c.moveBackground(ctx, c.from, c.to)
}

// moveBackground starts the processes of to that have no listeners, until one fails.
func (c *change) moveBackground(ctx context.Context, from, to *generation) (string, error) {
	var moved []string
	for _, p := range c.unpaused(to) {
		if err := c.moveProcess(ctx, p, from, to); err != nil {
			return "", err
		}
		moved = append(moved, p.Name)
	}
	return strings.Join(moved, ", "), nil
}

// serveBackground starts the processes of a live generation that have no listeners. One that fails keeps no other from running,
// and is started again until it works.
func (c *change) serveBackground(ctx context.Context, g *generation) (string, error) {
	var moved []string
	var failed error
	for _, p := range c.unpaused(g) {
		err := c.moveProcess(ctx, p, nil, g)
		switch {
		case errors.Is(err, ErrStopping):
			return "", err
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			moved = append(moved, p.Name)
		}
	}
	return strings.Join(moved, ", "), failed
}

// unpaused are the processes of g that have no listeners and are to run.
func (c *change) unpaused(g *generation) (list []*Process) {
	for i := range g.plan.Processes {
		if p := &g.plan.Processes[i]; len(p.Listen) == 0 && !c.s.isPaused(p.Name) {
			list = append(list, p)
		}
	}
	return list
}

// moveProcess starts one process of to that has no listeners, as its strategy says.
func (c *change) moveProcess(ctx context.Context, p *Process, from, to *generation) error {
	if from != nil && p.Strategy == Rolling {
		return c.rollProcess(ctx, p, from, to)
	}
	return c.startAll(ctx, func() []*instance { return to.of(p.Name) })
}

// stopAll has instances finish and waits until they have: each has its drain limit, so this ends.
func (c *change) stopAll(ctx context.Context, list func() []*instance) error {
	if err := c.s.do(func() {
		for _, in := range list() {
			c.s.unwant(in)
		}
	}); err != nil {
		return err
	}
	return c.s.await(ctx, func() (bool, error) {
		return !slices.ContainsFunc(list(), func(in *instance) bool { return in.state != InstanceExited }), nil
	})
}

// namesakes are the instances of other generations that must not run beside those of the list. An earlier generation than the
// one before may have some too, which have not finished yet.
func (s *Supervisor) namesakes(list []*instance) (others []*instance) {
	for _, in := range list {
		if in.proc.Strategy != Single {
			continue
		}
		for _, g := range s.generations {
			if g != in.gen {
				others = append(others, g.of(in.proc.Name)...)
			}
		}
	}
	return others
}

// startAll starts instances and waits until all are ready; one that dies before is an error. Those with the strategy `single`
// wait until their namesakes are gone.
func (c *change) startAll(ctx context.Context, list func() []*instance) error {
	if err := c.stopAll(ctx, func() []*instance { return c.s.namesakes(list()) }); err != nil {
		return err
	}
	if err := c.s.do(func() {
		for _, in := range list() {
			in.restarts, in.streak = 0, 0
			c.s.want(in)
		}
	}); err != nil {
		return err
	}
	return c.s.await(ctx, func() (bool, error) {
		for _, in := range list() {
			if in.state == InstanceBackoff || in.restarts > 0 {
				return false, &failure{reason: in.String() + " " + in.reason, log: in.tail.Lines()}
			}
			if in.state != InstanceReady {
				return false, nil
			}
		}
		return true, nil
	})
}

// settle waits until nothing is left for g in the accept queues.
func (c *change) settle(ctx context.Context, g *generation) (string, error) {
	left, err := c.s.settle(ctx, g, c.plan.Settle)
	if errors.Is(err, ErrStopping) {
		return "", err
	}
	if err != nil {
		c.warn("%v", err)
	}
	if left > 0 {
		c.warn("%d connections were still queued for generation %d after %s", left, g.id, c.plan.Settle)
	}
	return "", nil
}

// settle waits, not longer than limit, until nothing is left for g in the accept queues, and returns how much still is.
func (s *Supervisor) settle(ctx context.Context, g *generation, limit time.Duration) (left int, err error) {
	var queues map[string][]int
	if err := s.do(func() { queues = g.numbers() }); err != nil {
		return 0, err
	}
	return settleQueues(ctx, g.gates, queues, limit)
}

// settleQueues waits, not longer than limit, until nothing is left in the accept queues, and returns how much still is.
func settleQueues(ctx context.Context, gates map[string]Gate, queues map[string][]int, limit time.Duration) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for name, numbers := range queues {
		if gates[name].Kind() == kindShared {
			continue // the same queue serves on
		}
		for _, number := range numbers {
			settled, bad := gates[name].Settle(ctx, number)
			if bad != nil {
				err = errors.Join(err, fmt.Errorf("listener %q: %w", name, bad))
			}
			left += settled.Left
		}
	}
	return left, err
}

// probation watches the new generation while the old one is kept, unused.
func (c *change) probation(ctx context.Context) (string, error) {
	over, cancel := context.WithTimeoutCause(ctx, c.plan.Probation, errPassed)
	defer cancel()
	watched, fail := context.WithCancelCause(over)
	defer fail(nil)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer fail(errPassed)
	if err := c.askAll(watched, &asking, fail); err != nil {
		return "", err
	}
	err := c.s.await(watched, func() (bool, error) {
		if c.to.deaths > 0 {
			return false, &failure{reason: c.to.lastDeath, log: c.to.deathLog}
		}
		return false, nil
	})
	if errors.Is(err, errPassed) || errors.Is(err, ErrStopping) {
		return "healthy for " + c.plan.Probation.String(), nil
	}
	return "", err
}

// askAll has the new generation asked for its health until ctx ends; one bad answer is the end, with it as the cause.
func (c *change) askAll(ctx context.Context, asking *sync.WaitGroup, fail context.CancelCauseFunc) error {
	var ask []*instance // one of each lane
	if err := c.s.do(func() {
		for _, in := range c.to.instances {
			p := in.proc
			if p.Health == nil || len(p.Listen) == 0 || c.kind == Restart && c.from != nil && len(c.from.of(p.Name)) == 0 {
				continue
			}
			if !slices.ContainsFunc(ask, func(other *instance) bool { return other.lane() == in.lane() }) {
				ask = append(ask, in)
			}
		}
		for _, in := range ask {
			gate, number, p := c.to.gates[in.proc.Listen[0]], in.number(in.proc.Listen[0]), in.proc
			asking.Go(func() {
				c.s.ask(ctx, *p.Health, gate, number, func(r health.Result) bool {
					if !r.OK {
						fail(&failure{reason: p.Name + ": " + r.Reason, log: c.tail(p.Name)})
					}
					return r.OK
				})
			})
		}
	}); err != nil {
		return err
	}
	return nil
}

// tail is what a process of the new generation wrote last.
func (c *change) tail(process string) []string {
	var lines []string
	_ = c.s.do(func() {
		for _, in := range c.to.of(process) {
			lines = append(lines, in.tail.Lines()...)
		}
	})
	return lines
}

// retire lets the old generation go, or keeps it warm.
func (c *change) retire(context.Context) (string, error) {
	detail := "nothing was live before"
	err := c.s.do(func() {
		for _, g := range c.s.generations {
			if g.state == Standby && g != c.from {
				c.s.retire(g)
			}
		}
		if c.from == nil {
			return
		}
		detail = fmt.Sprintf("generation %d drains", c.from.id)
		if c.staysWarm() {
			warm := c.plan.Standby
			if c.req.Kind == start {
				warm = max(0, warm-time.Since(c.from.since)) // it has been warm under an earlier daemon
			}
			detail = fmt.Sprintf("generation %d stays warm for %s", c.from.id, warm.Round(time.Second))
			c.s.keepWarm(c.from, warm)
			return
		}
		c.s.retire(c.from)
	})
	return detail, err
}

// staysWarm tells whether the old generation is kept for a rollback. Its listener stays open then, so that nothing that is
// queued for it can get lost, and nobody needs to wait for it.
func (c *change) staysWarm() bool {
	return c.from != nil && !c.from.held && c.plan.Standby > 0 && (c.kind == Switch || c.kind == Rollback) && !c.shared()
}

// keepWarm keeps the workers that have listeners, for an instant rollback, and ends the others.
func (s *Supervisor) keepWarm(g *generation, d time.Duration) {
	for _, in := range g.instances {
		if len(in.proc.Listen) == 0 {
			s.unwant(in)
		}
	}
	since := g.since
	s.beside(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			s.retireAtRest(g, since)
		case <-g.done:
		case <-s.done:
		}
	})
}

// retireAtRest retires a generation that has been on standby since then, when no change is in progress: one may be about to go
// back to it.
func (s *Supervisor) retireAtRest(g *generation, since time.Time) {
	_ = s.await(context.Background(), func() (bool, error) { // it ends with the daemon at the latest
		switch {
		case g.state != Standby || !g.since.Equal(since):
			return true, nil
		case s.change != nil:
			return false, nil
		}
		s.retire(g)
		return true, nil
	})
	_ = s.do(func() {}) // a turn, for a generation whose workers are all gone already
}
