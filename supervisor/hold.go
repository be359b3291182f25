package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"superctl/plain"
)

// holding replaces a generation that must not run side by side with its successor (DESIGN 7,
// `hold`).
type holding struct{ *change }

func (c *change) hold() holding { return holding{c} }

// queueEvery is how often the queue of held connections is looked at: the kernel has no event for
// its length.
const queueEvery = 100 * time.Millisecond

// applies reports whether the new generation must not overlap the old one (DESIGN 7, `hold`). A
// reload and a restart stay on the same code, which gets on with itself.
func (h holding) applies() bool {
	return h.from != nil && !h.warm && (h.kind == Switch || h.kind == Rollback) && h.plan.hold() > 0
}

// turnOver is a change whose old workers finish before the new ones serve.
func (h holding) turnOver() error {
	if err := h.prepare(); err != nil {
		return err
	}
	uncover, err := h.perform()
	defer uncover()
	if err != nil {
		return h.comeBack(err)
	}
	return h.finish(func() error {
		err := h.firstAnswer()
		if err == nil {
			uncover()
		}
		return err
	})
}

// prepare proves the release of a prepared change while the old one serves, and waits for the word.
// The proof comes again when connections are held: the `before` hooks may alter what it depends on.
func (h holding) prepare() error {
	if h.req.Prepare == 0 {
		return nil
	}
	if err := h.step(stepPreflight, h.trial().preflight); err != nil {
		return err
	}
	return h.awaitGo()
}

// perform is all that comes before the cutover of a plan that must not overlap the old one.
// The gate turns to a listener on which no worker accepts yet. It belongs to a generation of the old
// plan without workers, which is live from then on: if anything fails, or this daemon ends, what is
// left to do is to start them. The old workers get nothing new, and finish; then the `before` hooks
// run, and the new release is proved on private sockets, because on the held listener it will serve
// from its first moment. It returns how to end the page of a hold that lasts too long.
func (h holding) perform() (uncover func(), err error) {
	uncover = func() {}
	if err := h.step(stepQuiesce, h.quiesce); err != nil {
		return uncover, err
	}
	old := h.from
	h.count().beforeTurn()
	began := time.Now()
	if err := h.step(stepHold, h.turnToHeld); err != nil {
		return uncover, err
	}
	uncover = h.coverWhenLate(began)
	watched, stop := context.WithCancel(h.ctx)
	var seen queueSeen
	ended := make(chan struct{})
	h.owner.async(func() {
		defer close(ended)
		seen = h.watchQueue(watched, began)
	})
	err = h.whileHeld(old, began)
	stop()
	<-ended
	if seen.full > 0 {
		h.warn(
			"%s for listener %q and no more fit: raise its backlog, and net.core.somaxconn",
			plain.Count(seen.full, "connection waited", "connections waited"), seen.name,
		)
	}
	if waited := time.Since(began); err == nil && waited > h.plan.hold() {
		h.warn(
			"connections were held for %s, which is longer than hold = %s", waited.Round(time.Millisecond),
			h.plan.hold(),
		)
	}
	return uncover, err
}

func (h holding) whileHeld(old *generation, began time.Time) error {
	if err := h.step(stepDrain, func(ctx context.Context) (string, error) {
		return h.drainHeld(ctx, old, began)
	}); err != nil {
		return err
	}
	if err := h.prepareRelease(); err != nil {
		return err
	}
	if err := h.step(stepPreflight, h.trial().preflight); err != nil {
		return err
	}
	return h.step(stepCutover, h.cutoverHeld)
}

// quiesce has the old background processes finish while the old web still serves: they may take
// their time.
func (h holding) quiesce(ctx context.Context) (string, error) {
	background := withoutListeners(h.from)
	if len(background) == 0 {
		return "no background processes", nil
	}
	return fmt.Sprintf("%d background workers have finished", len(background)),
		h.background().stopAll(ctx, func() []*instance { return background })
}

// turnToHeld turns the gate to a generation of the old plan that has no workers, once the next
// daemon would know its listeners.
func (h holding) turnToHeld(context.Context) (string, error) {
	old := h.from
	var held *generation
	if err := h.owner.try(func() (err error) {
		held, err = old.newHeld(nil)
		return err
	}); err != nil {
		return "", err
	}
	if err := h.owner.journal.durable(); err != nil {
		return "", errors.Join(err, h.owner.do(held.retire))
	}
	if err := h.owner.try(func() error {
		err := old.yieldTo(h.ctx, held)
		if err == nil {
			h.from = held
		}
		return err
	}); err != nil {
		return "", err
	}
	if err := h.owner.journal.durable(); err != nil {
		return "", errors.Join(err, h.owner.try(func() error {
			h.from = old
			return old.serveInsteadOf(held)
		}))
	}
	return "new connections wait", nil
}

// newHeld makes a generation of g's plan that has listeners, those in taken among them, and no
// workers.
func (g *generation) newHeld(taken map[string]listener) (*generation, error) {
	held := g.owner.newGeneration(g.plan, g.gates, "")
	held.held = true
	maps.Copy(held.staged, taken)
	if err := held.openListeners(); err != nil {
		held.retireWithout(taken)
		return nil, err
	}
	return held, nil
}

// retireWithout retires a generation that has not become live. The listeners that it has taken stay with
// the generation that they were taken from.
func (g *generation) retireWithout(taken map[string]listener) {
	for name := range taken {
		delete(g.staged, name)
	}
	g.retire()
}

// yieldTo makes a held generation live in the place of g. When that fails, g is still live.
func (g *generation) yieldTo(ctx context.Context, held *generation) error {
	err := context.Cause(ctx)
	if err == nil {
		err = g.owner.listeners.turnGates(held, g)
	}
	if err != nil {
		held.retire()
		return err
	}
	g.transit(superseded)
	held.transit(cutOver)
	g.owner.live = held
	return nil
}

// serveInsteadOf makes g live again in the place of one that was held.
func (g *generation) serveInsteadOf(held *generation) error {
	err := g.owner.listeners.turnGates(g, held)
	g.transit(cutOver)
	g.owner.live = g
	held.transit(superseded)
	held.retire()
	return err
}

// drainHeld waits until nothing is left of the old generation, at most as long as connections may
// be held.
func (h holding) drainHeld(ctx context.Context, old *generation, began time.Time) (string, error) {
	limit := h.plan.hold()
	ctx, cancel := context.WithDeadlineCause(
		ctx, began.Add(limit), fmt.Errorf("it has not finished within hold = %s", limit),
	)
	defer cancel()
	if _, err := h.settle(ctx, old); err != nil {
		return "", err
	}
	if err := h.owner.do(old.retire); err != nil {
		return "", err
	}
	select {
	case <-old.done:
		return fmt.Sprintf("generation %d has finished", old.id), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-h.owner.done:
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
func (h holding) watchQueue(ctx context.Context, began time.Time) (seen queueSeen) {
	limit := h.plan.hold()
	held := h.from
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
			h.owner.log.Warn("connections are held for longer than they should be", zap.Duration("hold", limit))
			h.emit(Event{
				Type: "progress", Step: h.stepNow(),
				Detail: fmt.Sprintf("connections wait for longer than hold = %s now", limit),
			})
			continue
		case <-ticker.C:
		}
		var staged map[string]listener
		if h.owner.do(func() { staged = maps.Clone(held.staged) }) != nil {
			return seen
		}
		for name, l := range ordered(staged) {
			n, most, err := l.queue()
			if err != nil {
				continue
			}
			if most > 0 && n >= most && n > seen.full {
				seen = queueSeen{name, n}
			}
			if text := fmt.Sprintf("%s (room for %d)", plain.Count(n, "connection waits", "connections wait"), most); text != told && n > 0 {
				told = text
				h.emit(Event{Type: "progress", Step: h.stepNow(), Detail: text})
			}
		}
	}
}

// cutoverHeld gives the held listeners to the new generation, which starts on them once the next
// daemon would know it.
func (h holding) cutoverHeld(context.Context) (string, error) {
	if err := h.owner.try(h.takeHeld); err != nil {
		return "", err
	}
	h.save().cutover()
	if err := h.owner.do(h.to.wantListening); err != nil {
		return "", err
	}
	h.point(&h.plan)
	return fmt.Sprintf("generation %d takes what has waited", h.to.id), nil
}

// takeHeld is cutoverHeld as the owner does it. The held generation stays without workers and
// listeners: it is the way back.
func (h holding) takeHeld() error {
	if cause := context.Cause(h.ctx); cause != nil {
		return cause
	}
	g := h.owner.newGeneration(h.plan, h.owner.listeners.gates, "")
	if err := g.take(h.from); err != nil {
		g.failure = &failure{reason: err.Error()}
		g.retire()
		return err
	}
	h.to = g
	h.commit()
	return nil
}

// take gives g the listeners of from, opens those that from has not, and makes g live.
func (g *generation) take(from *generation) error {
	carried := make(map[string]listener)
	for _, in := range g.instances {
		for _, name := range in.proc.Listen {
			if l := from.staged[name]; l.held() && l.gate == g.gates[name] {
				carried[name] = l
			}
		}
	}
	maps.Copy(g.staged, carried)
	err := g.openListeners()
	if err == nil {
		err = g.owner.listeners.turnGates(g, from)
	}
	if err != nil {
		maps.DeleteFunc(g.staged, func(name string, _ listener) bool { return carried[name].held() })
		return err
	}
	maps.DeleteFunc(from.staged, func(name string, _ listener) bool { return carried[name].held() })
	from.transit(superseded)
	g.transit(cutOver)
	g.owner.live = g
	return nil
}

// wantListening starts the processes of a generation that have listeners.
func (g *generation) wantListening() {
	g.held = false
	for _, in := range g.instances {
		if len(in.proc.Listen) > 0 {
			in.start()
		}
	}
}

// firstAnswer waits until the new generation serves.
func (h holding) firstAnswer() error {
	return h.step(stepProve, func(ctx context.Context) (string, error) {
		return "ready", h.awaitReady(ctx, h.to)
	})
}

// awaitReady waits until every instance with a listener is ready; one that dies before is an error.
func (h holding) awaitReady(ctx context.Context, g *generation) error {
	return h.owner.await(ctx, func() (bool, error) {
		for _, in := range g.instances {
			if in.state == InstanceBackoff || in.restarts > 0 {
				return false, &failure{reason: in.String() + " " + in.reason, log: in.tail.Lines()}
			}
		}
		return g.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }), nil
	})
}
