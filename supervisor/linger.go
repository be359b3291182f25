package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/plain"
)

// lookEvery is how often the connections of a lingering worker are counted. The kernel does not tell
// when one ends.
const lookEvery = time.Second

// lingerWait is the wait of one worker for the end of its connections.
type lingerWait struct {
	of  *instance
	end func() // has it get its stop signal now, if it is still waited for
}

// mayLinger is for how long a worker may keep its connections before it gets its stop signal. That is
// only for one that gets no new ones any more, and never when the daemon stops or the release was
// refused.
func (in *instance) mayLinger() time.Duration {
	p := in.proc
	switch {
	case in.owner.stopping, in.gen.refused(), p.Strategy == Hold, in.gen.sharedGate(p):
		return 0
	case slices.ContainsFunc(p.Listen, func(name string) bool {
		return slices.Contains(in.owner.listeners.aimed[name], in.listener(name))
	}):
		return 0
	case in.gen.reverted:
		return in.keepAlive()
	}
	return in.lingerLimit()
}

// lingerLimit is for how long a worker may keep its connections, by its config: what
// drain_connections says, else until the keep-alive time of a server with the drain hook has ended
// those that are idle.
func (in *instance) lingerLimit() time.Duration {
	return cmp.Or(in.proc.DrainConnections, in.keepAlive())
}

// linger sends the stop signal when the worker's connections have ended, or when limit is over;
// then it says how many have not. With an earlier daemon a part of the limit has passed.
func (in *instance) linger(limit, passed time.Duration) {
	w, count := in.w, in.counter()
	ctx, enough := context.WithTimeout(context.Background(), limit-passed)
	first := min(passed, lookEvery) // an earlier daemon has looked
	this := &lingerWait{in, enough}
	in.lingers = this
	in.owner.async(func() {
		defer enough()
		for wait := first; ctx.Err() == nil; wait = lookEvery {
			select {
			case <-time.After(wait):
				if hasEnded(w) {
					return // it ended at the same moment
				}
				if n, err := count(); err == nil && n == 0 {
					enough()
				}
			case <-ctx.Done():
			case <-w.Done():
				return
			case <-in.owner.done:
				return
			}
		}
		left := 0
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			left, _ = count() // what could be counted
		}
		in.owner.post(func() {
			if in.lingers == this {
				in.noteOpen(left, limit)
				in.sendStop()
			}
		})
	})
}

func hasEnded(w process) bool {
	select {
	case <-w.Done():
		return true
	default:
		return false
	}
}

// recall has a worker that lingers serve on: it has not had its stop signal.
func (w *lingerWait) recall() {
	w.of.lingers = nil
	w.end()
	w.of.owner.flags.update(w.of)
}

// noteOpen notes how many connections a worker had when it was told to stop. What its server does
// with them is its affair: it closes idle ones, and lets requests that are in progress end.
func (in *instance) noteOpen(open int, limit time.Duration) {
	if open == 0 {
		return
	}
	in.gen.cost = append(in.gen.cost, fmt.Sprintf("%s of %s (generation %d) was told to stop after %s with %s open",
		in, in.gen.plan.Release.Name, in.gen.id, plain.Duration(limit), plain.Count(open, "connection", "connections")))
	in.owner.log.Info("connections outlast the wait for them", append(in.fields(), zap.Int("connections", open))...)
}

// counter returns what counts the connections of the instance's worker, for a goroutine other than
// the owner.
func (in *instance) counter() func() (int, error) {
	w := in.w
	var list []listener
	for _, name := range in.proc.Listen {
		if l := in.listener(name); l.held() {
			list = append(list, l)
		}
	}
	return func() (open int, err error) {
		for _, l := range list {
			n, bad := l.connections(w.PIDs())
			open, err = open+n, errors.Join(err, bad)
		}
		return open, err
	}
}

// endLingering has all workers that linger get their stop signal now.
func (s *Supervisor) endLingering() {
	for _, g := range ordered(s.generations) {
		for _, in := range g.instances {
			if in.lingers != nil {
				in.lingers.end()
			}
		}
	}
}
