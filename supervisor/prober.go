package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"superctl/supervisor/health"
)

// A starting worker is asked again firstPoll after a bad answer, then after twice as long each time
// up to the interval of its checks, and nextPoll after a good one: what it has answered well once
// it can answer again at once. No wait is needed before its first answer: a connection that is made
// before the worker accepts waits in the kernel's queue, and is answered when it does.
const (
	firstPoll = 20 * time.Millisecond
	nextPoll  = 20 * time.Millisecond
)

// prober asks one lane of a generation for its health. All that prove a worker or watch one use it.
type prober struct {
	policy  health.Policy
	subject health.Subject
}

// proberOf returns the prober of an instance's lane.
func (in *instance) proberOf() prober {
	p := prober{policy: *in.proc.Health}
	for _, name := range in.proc.Listen {
		l := in.listener(name)
		p.subject.Listeners = append(p.subject.Listeners, health.Listener{
			Name: name,
			Dial: l.dial,
			Queued: func() (int, error) {
				n, _, err := l.queue()
				return n, err
			},
		})
	}
	if p.policy.HasExec() {
		p.subject.Command = in.checkCommand()
	}
	return p
}

// checkCommand returns what runs a command as the worker of an instance would.
func (in *instance) checkCommand() func(context.Context, []string, func(string)) error {
	spec, err := in.spec()
	if err != nil {
		return func(context.Context, []string, func(string)) error { return err }
	}
	limits := in.proc.limits()
	name, scratch := "check-"+in.String(), in.scratch
	return func(ctx context.Context, argv []string, line func(string)) error {
		spec := spec
		spec.Scratch = in.owner.scratch(scratch, spec.User)
		c, err := spec.Beside(argv)
		if err != nil {
			return err
		}
		if c.Cgroup, err = in.owner.opt.Cgroups.Make(spec.Generation, name, limits); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
		err = in.owner.os.run(ctx, c, line)
		return errors.Join(err, in.owner.opt.Cgroups.Remove(c.Cgroup))
	}
}

// ask runs round after round until ctx ends or answer returns false. pause is how long to wait
// after each.
func (p *prober) ask(ctx context.Context, pause func(health.Result) time.Duration, answer func(health.Result) bool) {
	for {
		r := p.policy.RunAll(ctx, p.subject)
		if over(ctx) || !answer(r) {
			return
		}
		select {
		case <-time.After(pause(r)):
		case <-ctx.Done():
			return
		}
	}
}

// steadily is the pause of those that watch what has proved itself.
func (p *prober) steadily(health.Result) time.Duration { return p.policy.Interval }

// eagerly returns the pause of those that wait for a worker to prove itself.
func (p *prober) eagerly() func(health.Result) time.Duration {
	wait := firstPoll
	return func(r health.Result) time.Duration {
		if r.OK {
			wait = firstPoll
			return min(nextPoll, p.policy.Interval)
		}
		if r.Took > wait {
			return min(firstPoll, p.policy.Interval) // the round itself has waited
		}
		pause := min(wait, p.policy.Interval)
		wait = min(2*wait, p.policy.Interval)
		return pause
	}
}

// over reports whether the time of ctx is up. A connection that ctx gives its deadline fails by it
// a moment before ctx itself ends, and that is not the server's failure.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// proof is how far a lane has got with proving itself. Owned by Run.
type proof struct {
	in     *instance // of the lane
	cancel context.CancelFunc
	passed int // rounds in a row
	ever   bool
	newest health.Result
	asked  int
	limit  *time.Timer // of its failures since its first answer; nil = it has not failed so
}

// end ends the asking.
func (pr *proof) end() {
	pr.cancel()
	pr.allow()
}

// allow ends the limit of the failures.
func (pr *proof) allow() {
	if pr.limit != nil {
		pr.limit.Stop()
		pr.limit = nil
	}
}

// prove sees to it that the lane of a starting instance is asked for its health: all instances that
// accept from one listener are asked there together.
func (in *instance) prove() {
	g := in.gen
	if in.proc.Health == nil || g.proofs[in.lane()] != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	pr := &proof{in: in, cancel: cancel}
	g.proofs[in.lane()] = pr
	asks := in.proberOf()
	in.owner.async(func() {
		asks.ask(ctx, asks.eagerly(), func(r health.Result) bool {
			in.owner.post(func() {
				if ctx.Err() == nil {
					pr.checked(r)
				}
			})
			return true
		})
	})
}

// checked takes the result of a round. A release that has answered well once and then does not is
// refused at once: one that answers only sometimes would pass sooner or later if it were asked for
// long enough.
func (pr *proof) checked(r health.Result) {
	in, g, p := pr.in, pr.in.gen, pr.in.proc
	r.Reason = g.plan.redactor.Text(r.Reason)
	pr.newest = r
	pr.asked++
	if !r.OK {
		if pr.ever && !g.respawns() && g.failure == nil {
			g.fail(in, fmt.Sprintf("%s answers only sometimes: healthy %d times, then %s", p.Name, pr.passed, r.Reason))
		}
		pr.passed = 0
		if r.Answered {
			pr.limitFailures()
		}
		return
	}
	pr.allow()
	pr.passed++
	pr.ever = true
	if pr.passed < p.Health.HealthyAfter {
		return
	}
	for _, other := range g.of(p.Name) {
		if other.state == InstanceStarting && other.lane() == in.lane() {
			other.healthy = true
			other.maybeReady()
		}
	}
}

// limitFailures has the lane refused when it goes on failing. A server that answers is up, so to
// wait for longer changes nothing, and the advice is known.
func (pr *proof) limitFailures() {
	in := pr.in
	limit := in.proc.Health.UnhealthyAfter
	if limit == 0 || pr.limit != nil {
		return
	}
	pr.limit = in.owner.postAfter(limit, func() {
		if pr.limit != nil && in.gen.proofs[in.lane()] == pr {
			pr.refuseLane()
		}
	})
}

// refuseLane gives up what does not prove itself. A worker of the live generation is only given up
// where a change has started it: to start others again and again would not mend what they answer,
// and would take away the little that they serve.
func (pr *proof) refuseLane() {
	in := pr.in
	for _, other := range in.gen.of(in.proc.Name) {
		if other.state != InstanceStarting || other.lane() != in.lane() || !other.refusable() || other.restarts > 0 {
			continue
		}
		other.refusal = fmt.Sprintf("has failed its health check for %s since its first answer (health.unhealthy_after): %s",
			other.proc.Health.UnhealthyAfter, pr.newest.Reason)
		other.fire(startTimedOut)
	}
}

// trouble is why a lane is not ready yet, in words, for a live line and for a start that has timed
// out.
func (g *generation) trouble(lane string) string {
	if pr := g.proofs[lane]; pr != nil && pr.asked > 0 && !pr.newest.OK {
		return pr.newest.Reason
	}
	return ""
}
