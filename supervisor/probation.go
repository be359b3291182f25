package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"superctl/plain"
	"superctl/supervisor/health"
)

// probationWatch asks the new generation for its health while the old one is kept.
type probationWatch struct{ *change }

func (c *change) watch() probationWatch { return probationWatch{c} }

// run watches the new generation while the old one is kept, without new connections.
func (pw probationWatch) run(ctx context.Context) (string, error) {
	guard := newGuarding(pw.change)
	err := pw.outlast(ctx, guard)
	seen := guard.conclude(err)
	if err != nil {
		return "", err
	}
	if seen != "" {
		seen = "; " + seen
	}
	return "healthy for " + plain.Duration(pw.plan.Probation) + seen, nil
}

// outlast watches until the time is over and the guard compares nothing.
func (pw probationWatch) outlast(ctx context.Context, guard *guarding) error {
	watched, fail := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer fail(errPassed)
	if err := pw.askAll(watched, &asking, fail); err != nil {
		return err
	}
	asking.Go(func() { guard.run(watched, fail) })
	asking.Go(func() {
		select {
		case <-time.After(pw.plan.Probation):
		case <-watched.Done():
		}
		if guard.idle(watched) == nil {
			fail(errPassed)
		}
	})
	err := pw.owner.await(watched, func() (bool, error) {
		if pw.to.deaths > 0 {
			return false, &failure{reason: pw.to.lastDeath, log: pw.to.deathLog}
		}
		return false, nil
	})
	if errors.Is(err, errPassed) || errors.Is(err, ErrStopping) {
		return nil
	}
	return err
}

// askAll has the new generation asked for its health until ctx ends; one bad answer is the end,
// with it as the cause.
func (pw probationWatch) askAll(ctx context.Context, asking *sync.WaitGroup, fail context.CancelCauseFunc) error {
	if err := pw.owner.do(func() {
		for _, in := range lanesToAsk(pw.to, func(p *Process) bool {
			return pw.kind == Restart && pw.from != nil && len(pw.from.of(p.Name)) == 0
		}) {
			p, asks := in.proc, in.proberOf()
			asking.Go(func() {
				asks.ask(ctx, asks.steadily, func(r health.Result) bool {
					if !r.OK {
						if r.Status == 0 {
							pw.awaitEnd(ctx, p.Name)
						}
						fail(&failure{reason: p.Name + ": " + r.Reason, log: pw.tail(p.Name)})
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

const (
	// The kernel closes the connections of a process that ends before it tells of its end.
	endKnown = 250 * time.Millisecond
	// What a worker has left behind is ended before its end is told.
	endTold = 5 * time.Second
)

// awaitEnd lets the end of a worker be told first, which says more than a check that got no answer. The
// end ends ctx.
func (pw probationWatch) awaitEnd(ctx context.Context, process string) {
	wait := func(limit time.Duration) {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		<-limited.Done()
	}
	wait(endKnown)
	if ask(pw.owner.core, func() bool {
		return slices.ContainsFunc(pw.to.of(process), func(in *instance) bool { return in.dead })
	}) {
		wait(endTold)
	}
}

// lanesToAsk is one instance of each lane of a generation that has a health check. except may be nil.
func lanesToAsk(g *generation, except func(*Process) bool) (list []*instance) {
	for _, in := range g.instances {
		if in.proc.Health == nil || except != nil && except(in.proc) {
			continue
		}
		if !slices.ContainsFunc(list, func(other *instance) bool { return other.lane() == in.lane() }) {
			list = append(list, in)
		}
	}
	return list
}

// tail is what a process of the new generation wrote last.
func (pw probationWatch) tail(process string) []string {
	return ask(pw.owner.core, func() (lines []string) {
		for _, in := range pw.to.of(process) {
			lines = append(lines, in.tail.Lines()...)
		}
		return lines
	})
}
