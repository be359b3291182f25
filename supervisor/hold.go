package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
)

// queueEvery is how often the queue of held connections is looked at: the kernel has no event for
// its length.
const queueEvery = 100 * time.Millisecond

// holds tells whether the new generation must not run beside the old one (DESIGN 7, `hold`). A
// reload and a restart stay on the same code, which gets on with itself.
func (c *change) holds() bool {
	return c.from != nil && !c.warm && (c.kind == Switch || c.kind == Rollback) && c.plan.hold() > 0
}

// replaceHeld is all that comes before the cutover of a plan that must not run beside the old one.
// The gate turns to a listener on which nobody accepts yet. It belongs to a generation of the old
// plan without workers, which is live from then on: if anything fails, or this daemon ends, what is
// left to do is to start them. The old workers get nothing new, and finish; then the `before` hooks
// run, and the new release is proved on private sockets, because on the held listener it will serve
// from its first moment.
func (c *change) replaceHeld() error {
	if err := c.step(stepQuiesce, c.quiesce); err != nil {
		return err
	}
	old := c.from
	began := time.Now()
	if err := c.step(stepHold, c.hold); err != nil {
		return err
	}
	watched, stop := context.WithCancel(c.ctx)
	var seen queueSeen
	ended := make(chan struct{})
	c.s.beside(func() {
		defer close(ended)
		seen = c.watchQueue(watched, began)
	})
	err := c.whileHeld(old, began)
	stop()
	<-ended
	if seen.full > 0 {
		c.warn(
			"%d connections waited for listener %q and no more fit: raise its backlog, and net.core.somaxconn",
			seen.full, seen.name,
		)
	}
	if waited := time.Since(began); err == nil && waited > c.plan.hold() {
		c.warn(
			"connections were held for %s, which is longer than hold = %s", waited.Round(time.Millisecond),
			c.plan.hold(),
		)
	}
	return err
}

func (c *change) whileHeld(old *generation, began time.Time) error {
	if err := c.step(stepDrain, func(ctx context.Context) (string, error) {
		return c.drainHeld(ctx, old, began)
	}); err != nil {
		return err
	}
	if err := c.beforeHooks(); err != nil {
		return err
	}
	if err := c.step(stepPreflight, c.preflight); err != nil {
		return err
	}
	return c.step(stepCutover, c.cutoverHeld)
}

// quiesce has the old background processes finish while the old web still serves: they may take
// their time.
func (c *change) quiesce(ctx context.Context) (string, error) {
	background := withoutListeners(c.from)
	if len(background) == 0 {
		return "no background processes", nil
	}
	return fmt.Sprintf("%d background workers have finished", len(background)),
		c.stopAll(ctx, func() []*instance { return background })
}

// hold turns the gate to a generation of the old plan that has no workers.
func (c *change) hold(context.Context) (string, error) {
	var err error
	if stopped := c.s.do(func() { c.from, err = c.s.holdBack(c.ctx, c.from) }); stopped != nil {
		return "", stopped
	}
	return "new connections wait", err
}

// holdBack makes a generation of g's plan live in the place of g, without workers. When that fails,
// it returns g and g is still live.
func (s *Supervisor) holdBack(ctx context.Context, g *generation) (*generation, error) {
	if ctx.Err() != nil {
		return g, context.Cause(ctx)
	}
	held := s.newGeneration(g.plan, g.gates, "")
	held.held = true
	err := s.openListeners(held)
	if err == nil {
		err = s.turnGates(held, g)
	}
	if err != nil {
		s.retire(held)
		return g, err
	}
	s.transit(g, superseded)
	s.transit(held, cutOver)
	s.live = held
	if err := s.save(); err != nil {
		return g, errors.Join(err, s.letServe(g, held))
	}
	return held, nil
}

// letServe makes g live again in the place of one that was held.
func (s *Supervisor) letServe(g, held *generation) error {
	err := s.turnGates(g, held)
	s.transit(g, cutOver)
	s.live = g
	s.transit(held, superseded)
	s.retire(held)
	return err
}

// drainHeld waits until nothing is left of the old generation, at most as long as connections may
// be held.
func (c *change) drainHeld(ctx context.Context, old *generation, began time.Time) (string, error) {
	limit := c.plan.hold()
	ctx, cancel := context.WithDeadlineCause(
		ctx, began.Add(limit), fmt.Errorf("it has not finished within hold = %s, so it goes on", limit),
	)
	defer cancel()
	if _, err := c.settle(ctx, old); err != nil {
		return "", err
	}
	if err := c.s.do(func() { c.s.retire(old) }); err != nil {
		return "", err
	}
	select {
	case <-old.done:
		return fmt.Sprintf("generation %d has finished", old.id), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-c.s.done:
		return "", ErrStopping
	}
}

// queueSeen is the fullest queue that was seen at its limit.
type queueSeen struct {
	name string
	full int
}

// watchQueue shows how many connections are held, until ctx ends, and says it when they are held
// for too long.
func (c *change) watchQueue(ctx context.Context, began time.Time) (seen queueSeen) {
	limit := c.plan.hold()
	held := c.from
	ticker := time.NewTicker(queueEvery)
	defer ticker.Stop()
	overrun := time.NewTimer(time.Until(began.Add(limit)))
	defer overrun.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return seen
		case <-overrun.C:
			c.s.log.Warn("connections are held for longer than they should be", zap.Duration("hold", limit))
			c.emit(Event{
				Type: "progress", Step: c.stepNow(),
				Detail: fmt.Sprintf("connections wait for longer than hold = %s now", limit),
			})
			continue
		case <-ticker.C:
		}
		var staged map[string]int
		if c.s.do(func() { staged = maps.Clone(held.staged) }) != nil {
			return seen
		}
		for _, name := range slices.Sorted(maps.Keys(staged)) {
			n, most, err := held.gates[name].Queue(staged[name])
			if err != nil {
				continue
			}
			if most > 0 && n >= most && n > seen.full {
				seen = queueSeen{name, n}
			}
			if text := fmt.Sprintf("%d connections wait (room for %d)", n, most); text != told && n > 0 {
				told = text
				c.emit(Event{Type: "progress", Step: c.stepNow(), Detail: text})
			}
		}
	}
}

// cutoverHeld gives the held listeners to the new generation, which starts on them.
func (c *change) cutoverHeld(context.Context) (string, error) {
	var err error
	if stopped := c.s.do(func() { err = c.s.occupy(c) }); stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", err
	}
	c.point(c.plan.Release)
	return fmt.Sprintf("generation %d takes what has waited", c.to.id), nil
}

// occupy is cutoverHeld as the owner does it. The held generation stays without workers and
// listeners: it is the way back.
func (s *Supervisor) occupy(c *change) error {
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	g := s.newGeneration(c.plan, s.gates, "")
	if err := s.take(g, c.from); err != nil {
		g.failure = &failure{reason: err.Error()}
		s.retire(g)
		return err
	}
	c.to = g
	s.commit(c)
	return nil
}

// take gives g the listeners of from, opens those that from has not, makes g live and starts its
// processes that have listeners.
func (s *Supervisor) take(g, from *generation) error {
	carried := make(map[string]int)
	for _, in := range g.instances {
		for _, name := range in.proc.Listen {
			if from.staged[name] != 0 && from.gates[name] == g.gates[name] {
				carried[name] = from.staged[name]
			}
		}
	}
	maps.Copy(g.staged, carried)
	err := s.openListeners(g)
	if err == nil {
		err = s.turnGates(g, from)
	}
	if err != nil {
		maps.DeleteFunc(g.staged, func(name string, _ int) bool { return carried[name] != 0 })
		return err
	}
	maps.DeleteFunc(from.staged, func(name string, _ int) bool { return carried[name] != 0 })
	s.transit(from, superseded)
	s.transit(g, cutOver)
	s.live = g
	s.wantListening(g)
	return nil
}

// wantListening starts the processes of a generation that have listeners.
func (s *Supervisor) wantListening(g *generation) {
	g.held = false
	for _, in := range g.instances {
		if len(in.proc.Listen) > 0 {
			s.want(in)
		}
	}
}

// firstAnswer waits until the new generation serves.
func (c *change) firstAnswer() error {
	return c.step(stepProve, func(ctx context.Context) (string, error) {
		return "ready", c.serves(ctx, c.to)
	})
}

// serves waits until every instance with a listener is ready; one that dies before is an error.
func (c *change) serves(ctx context.Context, g *generation) error {
	return c.s.await(ctx, func() (bool, error) {
		for _, in := range g.instances {
			if in.state == InstanceBackoff || in.restarts > 0 {
				return false, &failure{reason: in.String() + " " + in.reason, log: in.tail.Lines()}
			}
		}
		return g.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }), nil
	})
}

// comeBack undoes a hold before its cutover: the old release serves what has waited.
func (c *change) comeBack(cause error) error {
	if errors.Is(cause, ErrStopping) {
		return cause
	}
	if err := c.step(stepComeBack, func(context.Context) (string, error) { return c.serveAgain(c.from) }); err != nil {
		c.warn("%s does not serve again yet: %v", c.from.plan.Release.Name, err)
	}
	return cause
}

// serveAgain starts what does not run of a live generation.
func (c *change) serveAgain(g *generation) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.undoLimit())
	defer cancel()
	if err := c.s.do(func() { c.s.wantListening(g) }); err != nil {
		return "", err
	}
	err := c.serves(ctx, g)
	if errors.Is(err, ErrStopping) {
		return "", err
	}
	_, failed := c.serveBackground(ctx, g)
	if err := errors.Join(err, failed); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (generation %d) serves", g.plan.Release.Name, g.id), nil
}

// turnBackHeld is a revert of a plan that must not run beside the old one: what is held back this
// time is the old release. When no worker of the new one is left to serve its queue, the old one
// gets that queue too.
func (c *change) turnBackHeld() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.undoLimit())
	defer cancel()
	failed := c.to
	if err := c.stopAll(ctx, func() []*instance { return withoutListeners(failed) }); err != nil {
		return "", fmt.Errorf("stop the background processes of %s: %w", failed.plan.Release.Name, err)
	}
	var err error
	var dead bool
	if stopped := c.s.do(func() { dead, err = c.s.holdAgain(c) }); stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", err
	}
	c.point(c.from.plan.Release)
	if !dead {
		if _, err := c.settle(ctx, failed); err != nil {
			return "", err
		}
	}
	if err := c.s.do(func() { c.s.retire(failed) }); err != nil {
		return "", err
	}
	select {
	case <-failed.done:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-c.s.done:
		return "", ErrStopping
	}
	return c.serveAgain(c.from)
}

// holdAgain is turnBackHeld as the owner does it; dead tells that the failed generation serves no
// more.
func (s *Supervisor) holdAgain(c *change) (dead bool, err error) {
	way := c.from
	dead = !slices.ContainsFunc(c.to.instances, func(in *instance) bool {
		return len(in.proc.Listen) > 0 && in.state == InstanceReady
	})
	back := s.newGeneration(way.plan, way.gates, "")
	back.held = true
	if dead {
		maps.Copy(back.staged, c.to.staged)
	}
	if err = s.openListeners(back); err == nil {
		err = s.turnGates(back, c.to)
	}
	if err != nil {
		if dead {
			clear(back.staged)
		}
		s.retire(back)
		return dead, err
	}
	if dead {
		clear(c.to.staged)
	}
	s.takeBack(c)
	s.transit(c.to, superseded)
	s.transit(back, cutOver)
	s.live, c.from = back, back
	s.retire(way)
	_ = s.save() // it says so itself, and the site must not stay down for it
	return dead, nil
}
