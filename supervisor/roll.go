package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// rolls tells whether the processes with listeners are replaced a few at a time (DESIGN 7,
// `rolling`). The workers that are live must have been started so too: those that share a listener
// cannot be stopped one by one without a loss.
func (c *change) rolls() bool {
	if c.from == nil || c.warm || !c.plan.rolls() ||
		c.kind == Restart && len(c.plan.process(c.req.Process).Listen) == 0 {
		return false
	}
	fits := true
	_ = c.s.do(func() {
		for i := range c.plan.Processes {
			p := &c.plan.Processes[i]
			if len(p.Listen) == 0 {
				continue
			}
			apart := (&generation{gates: c.gates()}).laned(p)
			old := c.from.of(p.Name)
			same := !slices.ContainsFunc(p.Listen, func(name string) bool {
				return c.from.gates[name] != c.gates()[name]
			})
			fits = fits && same && !c.from.astray && len(old) > 0 &&
				!slices.ContainsFunc(old, func(in *instance) bool { return (len(in.own) > 0) != apart })
		}
	})
	if !fits {
		c.warn(`this once both releases ran beside each other: the one before was not started with strategy "rolling", or with another listener`)
	}
	return fits
}

// replaceRolling is all that comes before the end of a roll: each new instance proves itself on a
// listener of its own before it gets connections, and before the old one in its place finishes.
// Until the cutover, which is the end of the roll, the old generation is the one that is live: if
// anything fails, or this daemon ends, what is left to do is to start again what it lacks.
func (c *change) replaceRolling() error {
	if err := c.beforeHooks(); err != nil {
		return err
	}
	if !c.apart() {
		if err := c.step(stepPreflight, c.preflight); err != nil {
			return err
		}
	}
	if err := c.step(stepRoll, c.roll); err != nil {
		return err
	}
	return c.step(stepCutover, func(context.Context) (string, error) {
		var err error
		if stopped := c.s.do(func() { err = c.s.rolled(c) }); stopped != nil {
			return "", stopped
		}
		if err == nil {
			c.point(c.plan.Release)
		}
		return "all connections reach the new workers", err
	})
}

// apart tells whether all instances with listeners have their own.
func (c *change) apart() bool {
	g := generation{gates: c.gates()}
	return !slices.ContainsFunc(c.plan.Processes, func(p Process) bool { return len(p.Listen) > 0 && !g.laned(&p) })
}

func (c *change) roll(ctx context.Context) (string, error) {
	only := ""
	if c.kind == Restart {
		only = c.req.Process
	}
	var err error
	if stopped := c.s.do(func() {
		c.to = c.s.newGeneration(c.plan, c.gates(), only)
		c.to.tried = true // its workers get connections as soon as they are proved
		if !c.apart() {
			maps.Copy(c.to.staged, c.from.staged) // one queue, for old and new
		}
		c.s.rolling = c.to
		err = c.s.save()
	}); stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", err
	}
	n := 0
	for _, b := range c.batches(c.from, c.to) {
		if err := c.replace(ctx, b); err != nil {
			return "", err
		}
		n += len(b.in)
		c.emit(Event{
			Type: "progress", Step: stepRoll, Detail: fmt.Sprintf("%d of %d workers replaced", n, c.listening(c.to)),
		})
	}
	return fmt.Sprintf("%d workers replaced", n), nil
}

// batch is the instances that take the place of others at the same time.
type batch struct{ in, out []*instance }

// batches pairs the instances with listeners of two generations, `surge` at a time.
func (c *change) batches(from, to *generation) (list []batch) {
	_ = c.s.do(func() {
		for i := range c.plan.Processes {
			p := &c.plan.Processes[i]
			// a restart has the others carried over
			if len(p.Listen) > 0 && (c.kind != Restart || len(to.of(p.Name)) > 0) {
				list = append(list, pair(from.of(p.Name), to.of(p.Name), p.Surge)...)
			}
		}
	})
	return list
}

func pair(out, in []*instance, surge int) (list []batch) {
	surge = max(1, surge)
	for at := 0; at < max(len(in), len(out)); at += surge {
		part := func(all []*instance) []*instance { return all[min(at, len(all)):min(at+surge, len(all))] }
		list = append(list, batch{in: part(in), out: part(out)})
	}
	return list
}

// rollProcess replaces the instances of a process without listeners, `surge` at a time.
func (c *change) rollProcess(ctx context.Context, p *Process, from, to *generation) error {
	var list []batch
	if err := c.s.do(func() { list = pair(from.of(p.Name), to.of(p.Name), p.Surge) }); err != nil {
		return err
	}
	for _, b := range list {
		if err := c.startAll(ctx, func() []*instance { return b.in }); err != nil {
			return err
		}
		if err := c.stopAll(ctx, func() []*instance { return b.out }); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) listening(g *generation) (n int) {
	_ = c.s.do(func() {
		for _, in := range g.instances {
			if len(in.proc.Listen) > 0 {
				n++
			}
		}
	})
	return n
}

// replace starts one part of a batch, waits until it is proved, and lets the other finish.
func (c *change) replace(ctx context.Context, b batch) error {
	if err := c.startBatch(ctx, b.in); err != nil {
		return err
	}
	return c.stopBatch(ctx, b.out)
}

// startBatch starts instances and waits until all are proved; connections reach them from then on.
func (c *change) startBatch(ctx context.Context, list []*instance) error {
	if err := c.start(list); err != nil {
		return err
	}
	told := ""
	return c.s.await(ctx, func() (bool, error) {
		if err := c.to.failed(); err != nil {
			return false, err
		}
		if text := waitingFor(c.to); text != told && text != "" {
			told = text
			c.emit(Event{Type: "progress", Step: stepRoll, Detail: text})
		}
		for _, in := range list {
			if in.state == InstanceBackoff || in.state == InstanceFailed || in.restarts > 0 {
				return false, &failure{reason: in.String() + " " + in.reason, log: in.tail.Lines()}
			}
			if in.state != InstanceReady {
				return false, nil
			}
		}
		return true, nil
	})
}

// start starts those of a batch that do not run.
func (c *change) start(list []*instance) error {
	var err error
	if stopped := c.s.do(func() {
		for _, in := range list {
			if err = c.s.open(in); err != nil {
				return
			}
			if in.state != InstanceReady {
				in.restarts, in.streak = 0, 0
			}
			c.s.want(in)
		}
	}); stopped != nil {
		return stopped
	}
	return err
}

// stopBatch turns new connections away from instances, waits until nothing is left in their queues,
// and has them finish. Each has its drain limit, so this ends.
func (c *change) stopBatch(ctx context.Context, list []*instance) error {
	queues := make(map[string][]int)
	var gates map[string]Gate
	if err := c.s.do(func() {
		for _, in := range list {
			in.leaving = true
			for name, n := range in.own {
				queues[name] = append(queues[name], n)
			}
			gates = in.gen.gates
		}
		c.s.aim()
	}); err != nil {
		return err
	}
	left, err := settleQueues(ctx, gates, queues, c.plan.Settle)
	if err != nil {
		c.warn("%v", err)
	}
	if left > 0 {
		c.warn("%d connections were still queued for workers that were replaced", left)
	}
	if err := c.stopAll(ctx, func() []*instance { return list }); err != nil {
		return err
	}
	return c.s.do(func() {
		for _, in := range list {
			c.s.closeOwn(in)
		}
	})
}

// rolled makes the new generation the live one, when all of it serves. The old one stays without
// workers: it is the way back.
func (s *Supervisor) rolled(c *change) error {
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	if err := c.to.failed(); err != nil {
		return err
	}
	s.transit(c.from, superseded)
	c.carry(c.from, c.to)
	s.transit(c.to, cutOver)
	s.rolling = nil
	c.from.held = true
	if !c.apart() {
		clear(c.from.staged) // its queue is the new one's now
	}
	s.commit(c)
	return nil
}

// abandonRoll undoes a roll before its end: what was replaced goes back, the newest first, and what
// had failed is stopped before, so that there is room.
func (c *change) abandonRoll(cause error) error {
	if c.to == nil || errors.Is(cause, ErrStopping) {
		return c.abandon(cause)
	}
	if err := c.step(stepComeBack, func(context.Context) (string, error) {
		return c.rollTo(c.from, c.to)
	}); err != nil {
		c.warn("%s is not whole again yet: %v", c.from.plan.Release.Name, err)
	}
	_ = c.s.do(func() { c.s.rolling = nil })
	return c.abandon(cause)
}

// rollTo brings every worker of one generation back in the place of another's.
func (c *change) rollTo(back, failed *generation) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.undoLimit())
	defer cancel()
	var broken []*instance
	if err := c.s.do(func() {
		for _, in := range failed.instances {
			if in.state != InstanceReady && len(in.proc.Listen) > 0 {
				broken = append(broken, in)
			}
		}
	}); err != nil {
		return "", err
	}
	if err := c.stopAll(ctx, func() []*instance { return broken }); err != nil {
		return "", err
	}
	// Nobody will ever accept what is queued there: our own probes, if it has not proved itself.
	if err := c.s.do(func() {
		for _, in := range broken {
			c.s.closeOwn(in)
		}
	}); err != nil {
		return "", err
	}
	for _, b := range slices.Backward(c.batches(failed, back)) {
		if err := c.serveBatch(ctx, b.in); err != nil {
			return "", err
		}
		if err := c.stopBatch(ctx, b.out); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s (generation %d) is whole", back.plan.Release.Name, back.id), nil
}

// serveBatch starts again what does not run, and waits until it serves.
func (c *change) serveBatch(ctx context.Context, list []*instance) error {
	if err := c.start(list); err != nil {
		return err
	}
	return c.s.await(ctx, func() (bool, error) {
		return !slices.ContainsFunc(list, func(in *instance) bool { return in.state != InstanceReady }), nil
	})
}

// turnBackRolled is a revert of a roll: the same in the other direction.
func (c *change) turnBackRolled() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.undoLimit())
	defer cancel()
	failed, back := c.to, c.from
	if err := c.stopAll(ctx, func() []*instance { return withoutListeners(failed) }); err != nil {
		return "", fmt.Errorf("stop the background processes of %s: %w", failed.plan.Release.Name, err)
	}
	if err := c.s.do(func() {
		if !c.apart() {
			maps.Copy(back.staged, failed.staged)
		}
		back.held = false
		c.carry(failed, back)
		c.s.transit(failed, superseded)
		c.s.transit(back, cutOver)
		c.s.live, c.s.rolling = back, failed
		c.s.takeBack(c)
		_ = c.s.save() // it says so itself
	}); err != nil {
		return "", err
	}
	c.point(back.plan.Release)
	_, err := c.rollTo(back, failed)
	if stopped := c.s.do(func() {
		c.s.rolling = nil
		if !c.apart() {
			clear(failed.staged)
		}
		c.s.retire(failed)
	}); stopped != nil {
		return "", stopped
	}
	if c.kind != Restart {
		err = errors.Join(err, c.backgroundAgain(ctx, back))
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (generation %d) is live again", back.plan.Release.Name, back.id), nil
}

// halfRolled finds the generation that was taking the place of the live one, instance by instance,
// when the last daemon ended. It serves on until the live one is whole again; all of the live one
// may be gone.
func (s *Supervisor) halfRolled(st *state) *generation {
	was := st.Change
	if was == nil || was.Step != stepRoll && was.Step != stepComeBack && was.Step != stepCutover {
		return nil
	}
	g := s.generations[st.Target]
	if g == nil || g.id == st.Live || !g.tried || !g.plan.rolls() || g.state != Booting && g.state != Staged {
		return nil
	}
	return g
}

// finishHalf takes back a roll that the end of the last daemon has interrupted.
func (c *change) finishHalf(half *generation) error {
	err := c.step(stepComeBack, func(context.Context) (string, error) { return c.rollTo(c.to, half) })
	if stopped := c.s.do(func() { c.s.rolling = nil }); stopped != nil {
		return stopped
	}
	c.s.withdrawAdopted(half)
	return err
}

// scaled is how many instances of a process somebody has asked for; 0 = nobody has.
func (s *Supervisor) scaled(process string) (n int) {
	_ = s.do(func() { n = s.scale[process] })
	return n
}
