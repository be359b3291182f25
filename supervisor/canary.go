package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/plain"
	"superctl/supervisor/worker"
)

// canaryRun sends a part of the connections to the new generation before its cutover.
type canaryRun struct{ *change }

func (c *change) canary() canaryRun { return canaryRun{c} }

// longestCheck is how long the check of a canary may take when the config does not say.
const longestCheck = 10 * time.Minute

// refuseCanary says why there can be no canary, before anything of it is begun.
func (ad *admission) refuseCanary(req Request) error {
	if req.Canary == nil {
		return nil
	}
	if req.Kind != Switch {
		return &RefusedError{Usage: true, Err: fmt.Errorf("a canary is for switch only, not for %s", req.Kind)}
	}
	if err := req.Canary.Validate(); err != nil {
		return &RefusedError{Usage: true, Err: err}
	}
	if ad.owner.live == nil {
		return &RefusedError{Err: errors.New("no release is live, so there is no release to share the connections with; superctl switch RELEASE without --canary starts one")}
	}
	if ad.owner.maintenance.on != nil {
		return &RefusedError{Err: errors.New("the app is in maintenance, so no connections reach it that a canary could divide: " +
			"superctl maintenance off first, or switch without --canary")}
	}
	const wayOut = `a canary needs one on TCP that the daemon opens itself (address = "127.0.0.1:8000", without gate = "shared"); ` +
		"or switch without --canary"
	divisible, whole := false, "the app has no listener: "
	for _, gate := range ad.opt.Gates {
		switch {
		case steers(gate):
			divisible = true
		case sharesQueue(gate):
			return &RefusedError{Err: fmt.Errorf("listener %q (%s) has one queue for all generations, so superctl cannot choose which of them a connection reaches: "+wayOut,
				gate.Name(), gate.Address())}
		default:
			whole = fmt.Sprintf(
				"listener %q (%s) is a path, which leads to one generation at a time: ", gate.Name(), gate.Address(),
			)
		}
	}
	if !divisible {
		return &RefusedError{Err: errors.New(whole + wayOut)}
	}
	return nil
}

// refuse says why the release cannot be tried, once its plan is known and before anything is
// started.
func (cr canaryRun) refuse() error {
	if cr.req.Canary == nil {
		return nil
	}
	for i := range cr.plan.Processes {
		if p := &cr.plan.Processes[i]; len(p.Listen) > 0 && p.Strategy != Overlap {
			return fmt.Errorf(`process.%s has the strategy %q, with which two complete releases never run at once: `+
				`switch without --canary, or with strategy = "overlap"`, p.Name, p.Strategy)
		}
	}
	if cr.req.Canary.Check == nil {
		return nil
	}
	path, err := worker.LookPath(cr.req.Canary.Check[0], cr.plan.Hooks.Env, cr.plan.Hooks.Dir)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return fmt.Errorf("the check of the canary: %w", err)
	}
	return nil
}

// perform sends a part of the connections to the staged generation, step by step, and watches it as
// a probation does. After the last step it has its part until the cutover. Whatever goes wrong, the
// gate comes first.
func (cr canaryRun) perform(ctx context.Context) (string, error) {
	guard := newGuarding(cr.change)
	said, err := cr.stepByStep(ctx, guard)
	seen := guard.conclude(err)
	if err == nil && seen != "" {
		said += "; " + seen
	}
	return said, err
}

// stepByStep gives the staged generation its share while all that may go wrong is watched.
func (cr canaryRun) stepByStep(ctx context.Context, guard *guarding) (string, error) {
	watched, fail := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer fail(errPassed)
	back := context.AfterFunc(watched, cr.end)
	defer back()
	if err := cr.watch().askAll(watched, &watching, fail); err != nil {
		return "", err
	}
	watching.Go(func() { fail(cr.owner.await(watched, func() (bool, error) { return false, cr.to.failed() })) })
	watching.Go(func() { guard.run(watched, fail) })
	t := newTranscript(stepCanary, cr.emit, cr.clean)
	defer func() { cr.output = t.end() }()
	told := make([]string, 0, len(cr.req.Canary.Steps))
	for _, share := range cr.req.Canary.Shares() {
		part := cr.req.Canary.Part(share)
		if err := cr.try(watched, share, part, guard, t); err != nil {
			cr.end()
			return "", fmt.Errorf("at %s: %w", part, err)
		}
		told = append(told, part)
	}
	return fmt.Sprintf("healthy at %s", strings.Join(told, ", then ")), nil
}

// failed is what went wrong with a generation, as an error.
func (g *generation) failed() error {
	if g.failure == nil {
		return nil
	}
	return g.failure
}

// try is one step of a canary.
func (cr canaryRun) try(ctx context.Context, share int, part string, guard *guarding, t *transcript) error {
	if err := cr.begin(ctx, share); err != nil {
		return err
	}
	cr.emit(Event{Type: "progress", Step: stepCanary, Detail: fmt.Sprintf("%s for %s", part, plain.Duration(cr.req.Canary.For))})
	cr.fault("during " + stepCanary)
	select {
	case <-time.After(cr.req.Canary.For):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := guard.idle(ctx); err != nil {
		return err
	}
	if err := cr.check(ctx, share, t); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// check runs the command that decides whether the canary goes on, in the new release.
func (cr canaryRun) check(ctx context.Context, share int, t *transcript) error {
	argv := cr.req.Canary.Check
	if argv == nil {
		return nil
	}
	h := &cr.plan.Hooks
	limit := cmp.Or(h.Timeout, longestCheck)
	timed, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not finished within %s", plain.Duration(limit)))
	defer cancel()
	t.add("$ " + strings.Join(argv, " "))
	tail := worker.NewTail(tailLines)
	err := cr.hooks().command(timed, argv, cr.checkEnv(share), func(line string) {
		tail.Add([]byte(line))
		t.add(line)
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil: // something else has ended the canary, and this
		return context.Cause(ctx)
	case timed.Err() != nil:
		err = context.Cause(timed)
	}
	return commandFailed(api.Check, argv, err, tail.Lines())
}

func (cr canaryRun) checkEnv(share int) []string {
	networks := make([]string, len(cr.req.Canary.Networks))
	for i, n := range cr.req.Canary.Networks {
		networks[i] = n.String()
	}
	return append(cr.hooks().env("", nil),
		"SUPERCTL_GENERATION="+strconv.Itoa(cr.to.id),
		"SUPERCTL_CANARY_SHARE="+api.Percent(share),
		"SUPERCTL_CANARY_NETWORKS="+strings.Join(networks, ","),
	)
}

// begin gives the staged generation its part. That it has had connections is durable before it gets
// the first.
func (cr canaryRun) begin(ctx context.Context, share int) error {
	first := false
	if err := cr.owner.try(func() error {
		first = !cr.to.tried
		cr.to.tried = true
		return cr.goesOn(ctx)
	}); err != nil {
		return err
	}
	if err := cr.owner.journal.durable(); err != nil {
		return err
	}
	return cr.owner.try(func() error { return cr.direct(ctx, share, first) })
}

// goesOn returns what has gone wrong meanwhile, for the owner.
func (cr canaryRun) goesOn(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return cr.to.failed()
}

// direct turns the gates, as the owner does it.
func (cr canaryRun) direct(ctx context.Context, share int, first bool) error {
	if err := cr.goesOn(ctx); err != nil {
		return err
	}
	g, networks := cr.to, cr.req.Canary.Networks
	g.canary = &CanaryStatus{Share: float64(share) / 100, Networks: networks}
	g.owner.journal.dirty = true
	for name, l := range ordered(g.staged) {
		switch {
		case l.steered():
			if err := l.canary(share, networks); err != nil {
				return fmt.Errorf("listener %q: %w", name, err)
			}
			g.owner.listeners.wasSet(l.gate)
		case first:
			cr.warn("listener %q (%s) cannot be divided: it had no part in the canary", name, l.gate.Address())
		}
	}
	return nil
}

// end takes its part of the connections away from the new generation.
func (cr canaryRun) end() { _ = cr.owner.do(cr.to.endCanary) }

func (g *generation) endCanary() {
	if g.canary == nil {
		return
	}
	g.canary = nil
	g.owner.journal.dirty = true
	for _, l := range ordered(g.staged) {
		if l.steered() {
			g.owner.listeners.endPart(l, g)
		}
	}
}

// tried reports whether the new generation has had connections before its cutover.
func (cr canaryRun) tried() bool {
	return ask(cr.owner.core, func() bool { return cr.to.tried })
}

// withdraw undoes a change whose new generation has had connections: they are finished as
// those of a generation that was live are. The change does not wait for the end of that.
func (cr canaryRun) withdraw(cause error) error {
	withdraw := func(context.Context) (string, error) {
		left, err := cr.to.withdraw(context.Background())
		if err != nil {
			cr.warn("%v", err)
		}
		if left > 0 {
			cr.warn("%s for generation %d after %s", stillQueued(left), cr.to.id, cr.plan.Settle)
		}
		return fmt.Sprintf("generation %d drains", cr.to.id), nil
	}
	if err := cr.step(stepWithdraw, withdraw); err != nil { // it could not be made durable: it is done all the same
		cr.warn("%v", err)
		_, _ = withdraw(context.Background()) // it has no error
	}
	return cause
}

// withdraw has a generation that had its part in a canary finish: the gate first, then what is
// queued is served, then it drains. It returns how many connections were still queued in the end.
// If the gate cannot be set, that follows once it can.
func (g *generation) withdraw(ctx context.Context) (left int, err error) {
	if err := g.owner.do(g.endCanary); err != nil {
		return 0, err
	}
	if !g.partEnded(ctx) {
		g.retireUnreached()
		return 0, errStillReached
	}
	left, err = g.settle(ctx, g.plan.Settle)
	if left > 0 && g.revive(ctx) {
		left, err = g.settle(ctx, g.plan.Settle)
	}
	return left, errors.Join(err, g.owner.do(g.retire))
}

// withdrawAdopted has a generation finish that was in a canary when the last daemon ended. The
// gates have turned back already, unless this daemon cannot turn them to the live generation: then
// they may lead here until its successor is live.
func (g *generation) withdrawAdopted() {
	_ = g.owner.await(context.Background(), func() (bool, error) {
		live := g.owner.live
		return live == nil || !live.unroutable || g.owner.stopping, nil
	})
	left, err := g.withdraw(context.Background())
	if left > 0 || err != nil && !errors.Is(err, ErrStopping) {
		g.owner.log.Error(
			"withdraw a generation of the earlier daemon", zap.Int("generation", g.id), zap.Int(
				"connections_queued", left,
			),
			zap.Error(err),
		)
	}
}

// revive waits for workers that died in a canary and are started again, because connections wait
// for them. One that has died twice is not waited for.
func (g *generation) revive(ctx context.Context) (waited bool) {
	limit := time.Duration(0)
	for i := range g.plan.Processes {
		limit = max(limit, g.plan.Processes[i].StartTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := g.owner.await(ctx, func() (bool, error) {
		starts := slices.ContainsFunc(g.instances, func(in *instance) bool {
			return len(in.proc.Listen) > 0 && in.restarts < 2 &&
				(in.state == InstanceStarting || in.state == InstanceBackoff)
		})
		waited = waited || starts
		return !starts, nil
	})
	return waited && err == nil
}

// canaryOn is the generation that gets a part of a gate's connections, or 0.
func (ls *listenerSet) canaryOn(gate Gate) int {
	if id := ls.divided.sharedWith(gate); id != 0 {
		return id
	}
	for _, g := range ls.owner.generations {
		if g.canary != nil && g.staged[gate.Name()].held() && steers(gate) {
			return g.id
		}
	}
	return 0
}
