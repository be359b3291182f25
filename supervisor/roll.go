package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"superctl/plain"
)

// rolling replaces a generation a few workers at a time (DESIGN 7, `rolling`).
type rolling struct{ *change }

func (c *change) roll() rolling { return rolling{c} }

// applies reports whether the processes with listeners are replaced a few at a time (DESIGN 7,
// `rolling`). The workers that are live must have been started so too: those that share a listener
// cannot be stopped one by one without a loss.
func (r rolling) applies() bool {
	if r.from == nil || r.warm || !r.plan.rolls() ||
		r.kind == Restart && len(r.plan.process(r.req.Process).Listen) == 0 {
		return false
	}
	fits := true
	_ = r.owner.do(func() {
		for i := range r.plan.Processes {
			p := &r.plan.Processes[i]
			if len(p.Listen) == 0 {
				continue
			}
			apart := (&generation{gates: r.gates()}).laned(p)
			old := r.from.of(p.Name)
			same := !slices.ContainsFunc(p.Listen, func(name string) bool {
				return r.from.gates[name] != r.gates()[name]
			})
			fits = fits && same && !r.from.unroutable && len(old) > 0 &&
				!slices.ContainsFunc(old, func(in *instance) bool { return (len(in.own) > 0) != apart })
		}
	})
	if !fits {
		r.warn(`both releases ran at once this time: the one before was not started with strategy "rolling", or had another listener`)
	}
	return fits
}

// turnOver is a change that replaces the old workers a few at a time.
func (r rolling) turnOver() error {
	if err := r.perform(); err != nil {
		return r.abandonHalf(err)
	}
	return r.finish(nil)
}

// perform is all that comes before the end of a roll: each new instance proves itself on a
// listener of its own before it gets connections, and before the old one in its place finishes.
// Until the cutover, which is the end of the roll, the old generation is the one that is live: if
// anything fails, or this daemon ends, what is left to do is to start again what it lacks.
func (r rolling) perform() error {
	if err := r.prepareRelease(); err != nil {
		return err
	}
	if !r.apart() || r.req.Prepare > 0 {
		if err := r.step(stepPreflight, r.trial().preflight); err != nil {
			return err
		}
	}
	if err := r.awaitGo(); err != nil { // from here on old workers finish, batch by batch
		return err
	}
	r.count().beforeTurn()
	if err := r.step(stepRoll, r.replaceAll); err != nil {
		return err
	}
	return r.step(stepCutover, func(context.Context) (string, error) {
		if err := r.owner.try(r.rolled); err != nil {
			return "", err
		}
		r.save().cutover()
		r.point(&r.plan)
		return "all connections reach the new workers", nil
	})
}

// apart reports whether all instances with listeners have their own.
func (r rolling) apart() bool {
	g := generation{gates: r.gates()}
	return !slices.ContainsFunc(r.plan.Processes, func(p Process) bool { return len(p.Listen) > 0 && !g.laned(&p) })
}

func (r rolling) replaceAll(ctx context.Context) (string, error) {
	only := ""
	if r.kind == Restart {
		only = r.req.Process
	}
	if err := r.owner.do(func() {
		r.to = r.owner.newGeneration(r.plan, r.gates(), only)
		r.to.instances = slices.DeleteFunc(r.to.instances, func(in *instance) bool { return !r.replaces(in) })
		r.to.tried = true // its workers get connections as soon as they are proved
		if !r.apart() {
			maps.Copy(r.to.staged, r.from.staged) // one queue, for old and new
		}
		r.owner.rolling = r.to
	}); err != nil {
		return "", err
	}
	if err := r.owner.journal.durable(); err != nil {
		return "", err
	}
	n := 0
	for _, b := range r.batches(r.from, r.to) {
		if err := r.replace(ctx, b); err != nil {
			return "", err
		}
		n += len(b.in)
		r.emit(Event{
			Type: "progress", Step: stepRoll, Detail: fmt.Sprintf("%d of %d workers replaced", n, r.listening(r.to)),
		})
	}
	return plain.Count(n, "worker replaced", "workers replaced"), nil
}

// batch is the instances that take the place of others at the same time.
type batch struct{ in, out []*instance }

// batches pairs the instances with listeners of two generations, `surge` at a time.
func (r rolling) batches(from, to *generation) []batch {
	return ask(r.owner.core, func() (list []batch) {
		for i := range r.plan.Processes {
			p := &r.plan.Processes[i]
			// a restart has the others carried over
			if len(p.Listen) > 0 && (r.kind != Restart || len(to.of(p.Name)) > 0) {
				out := from.of(p.Name)
				if from == r.from {
					out = slices.DeleteFunc(out, func(in *instance) bool { return !r.replaces(in) })
				}
				list = append(list, pair(out, to.of(p.Name), p.Surge)...)
			}
		}
		return list
	})
}

// replaces reports whether the change replaces an instance: a restart of one leaves the others.
func (r rolling) replaces(in *instance) bool {
	return r.req.Instance == nil || *r.req.Instance == in.index
}

// pair pairs instances of the same number, `surge` numbers at a time.
func pair(out, in []*instance, surge int) (list []batch) {
	surge = max(1, surge)
	most := 0
	for _, one := range slices.Concat(out, in) {
		most = max(most, one.index+1)
	}
	for at := 0; at < most; at += surge {
		b := batch{in: numbered(in, at, at+surge), out: numbered(out, at, at+surge)}
		if len(b.in) > 0 || len(b.out) > 0 {
			list = append(list, b)
		}
	}
	return list
}

// numbered returns the instances whose number is at least first and below end.
func numbered(list []*instance, first, end int) (part []*instance) {
	for _, in := range list {
		if in.index >= first && in.index < end {
			part = append(part, in)
		}
	}
	return part
}

// rollProcess replaces the instances of a process without listeners, `surge` at a time.
func (r rolling) rollProcess(ctx context.Context, p *Process, from, to *generation) error {
	var list []batch
	if err := r.owner.do(func() { list = pair(from.of(p.Name), to.of(p.Name), p.Surge) }); err != nil {
		return err
	}
	for _, b := range list {
		if err := r.background().startAll(ctx, func() []*instance { return b.in }); err != nil {
			return err
		}
		if err := r.background().stopAll(ctx, func() []*instance { return b.out }); err != nil {
			return err
		}
	}
	return nil
}

func (r rolling) listening(g *generation) int {
	return ask(r.owner.core, func() (n int) {
		for _, in := range g.instances {
			if len(in.proc.Listen) > 0 {
				n++
			}
		}
		return n
	})
}

// replace starts one part of a batch, waits until it is proved, and lets the other finish.
func (r rolling) replace(ctx context.Context, b batch) error {
	if err := r.startBatch(ctx, b.in); err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r.owner.async(func() {
		if err := r.owner.await(ctx, func() (bool, error) { return false, r.died(b.in) }); ctx.Err() == nil {
			fail(err)
		}
	})
	return r.stopBatch(ctx, b.out)
}

// died returns why one of the new instances has failed, after it was proved or before.
func (r rolling) died(list []*instance) error {
	if err := r.to.failed(); err != nil {
		return err
	}
	for _, in := range list {
		if in.fails() || in.state == InstanceFailed || in.restarts > 0 {
			return &failure{reason: in.String() + " " + cmp.Or(in.reason, "ended"), log: in.tail.Lines()}
		}
	}
	return nil
}

// startBatch starts instances and waits until all are proved; connections reach them from then on.
func (r rolling) startBatch(ctx context.Context, list []*instance) error {
	if err := r.start(list); err != nil {
		return err
	}
	told := ""
	return r.owner.await(ctx, func() (bool, error) {
		if err := r.died(list); err != nil {
			return false, err
		}
		if text := waitingFor(r.to); text != told && text != "" {
			told = text
			r.emit(Event{Type: "progress", Step: stepRoll, Detail: text})
		}
		return !slices.ContainsFunc(list, func(in *instance) bool { return in.state != InstanceReady }), nil
	})
}

// start starts those of a batch that do not run.
func (r rolling) start(list []*instance) error {
	return r.owner.try(func() error { return startNow(list) })
}

// startNow starts those of a batch that do not run, for the owner.
func startNow(list []*instance) error {
	for _, in := range list {
		if err := in.open(); err != nil {
			return err
		}
		if in.state != InstanceReady {
			in.restarts, in.streak = 0, 0
		}
		in.start()
	}
	return nil
}

// stopBatch turns new connections away from instances, waits until nothing is left in their queues,
// and has them finish. Each has its drain limit, so this ends.
func (r rolling) stopBatch(ctx context.Context, list []*instance) error {
	var queues []listener
	if err := r.owner.do(func() { queues = r.turnAway(list) }); err != nil {
		return err
	}
	left, err := settleQueues(ctx, queues, r.plan.Settle)
	if err != nil {
		r.warn("%v", err)
	}
	if left > 0 {
		r.warn("%s for workers that were replaced", stillQueued(left))
	}
	// The next daemon must not send connections to workers that have had their stop signal.
	if err := r.save().now(); err != nil && !r.save().goesOnUnsaved() && !goesBack(r.stepNow()) {
		return err
	}
	if err := r.background().stopAll(ctx, func() []*instance { return list }); err != nil {
		return err
	}
	return r.owner.do(func() {
		for _, in := range list {
			in.closeOwn()
		}
	})
}

// turnAway turns new connections away from instances for good, whatever becomes of them, and returns
// their queues; for the owner.
func (r rolling) turnAway(list []*instance) (queues []listener) {
	for _, in := range list {
		in.leaving = true
		for _, l := range ordered(in.own) {
			queues = append(queues, l)
		}
	}
	r.owner.listeners.aim()
	return queues
}

// rolled makes the new generation the live one, when all of it serves. The old one stays without
// workers: it is the way back.
func (r rolling) rolled() error {
	if cause := context.Cause(r.ctx); cause != nil {
		return cause
	}
	if err := r.to.failed(); err != nil {
		return err
	}
	r.from.transit(superseded)
	r.carry(r.from, r.to)
	r.to.transit(cutOver)
	r.owner.rolling = nil
	r.from.held = true
	if !r.apart() {
		clear(r.from.staged) // its queue is the new one's now
	}
	r.commit()
	return nil
}
