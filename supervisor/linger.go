package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/plain"
)

// How often the connections of a lingering worker are counted, by what it waits for. The kernel does
// not tell when one ends or is answered.
const (
	lookEvery       = time.Second
	lookForAnswerIn = 50 * time.Millisecond
)

// lingerFor is what a worker waits for before its stop signal, and how long at most; a zero limit = it
// does not wait.
type lingerFor struct {
	what  api.LingerFor
	limit time.Duration
}

// lingerWait is the wait of one worker before its stop signal.
type lingerWait struct {
	of *instance
	lingerFor
	end func() // has it get its stop signal now, if it is still waited for
}

// mayLinger is what a worker waits for before it gets its stop signal. That is only for one that gets
// no new connections any more, and never when the daemon stops or the release was refused.
func (in *instance) mayLinger() lingerFor {
	p := in.proc
	switch {
	case in.owner.stopping, in.gen.refused(), p.Strategy == Hold, in.gen.sharedGate(p):
		return lingerFor{}
	case slices.ContainsFunc(p.Listen, func(name string) bool {
		return slices.Contains(in.owner.listeners.aimed[name], in.listener(name))
	}):
		return lingerFor{}
	case in.gen.reverted:
		return in.lingerFor(in.keepAlive())
	}
	return in.lingerLimit()
}

// lingerLimit is what a worker waits for by its config: what drain_connections says, else until the
// keep-alive time of a server with the drain hook has ended those that are idle. Any other server may
// close a connection whose request is just arriving, so its stop signal waits for the first answers.
func (in *instance) lingerLimit() lingerFor {
	return in.lingerFor(cmp.Or(in.proc.DrainConnections, in.keepAlive()))
}

// lingerFor waits for connections to end if there is a limit for that, else for answers.
func (in *instance) lingerFor(connections time.Duration) lingerFor {
	if connections > 0 {
		return lingerFor{api.Connections, connections}
	}
	return lingerFor{api.Answers, in.proc.AnswerWait}
}

// every is how often it is looked whether the wait is over.
func (lf lingerFor) every() time.Duration {
	if lf.what == api.Answers {
		return lookForAnswerIn
	}
	return lookEvery
}

// linger sends the stop signal when what the worker waits for has come, or when its limit is over;
// then it says how many connections are open. With an earlier daemon a part of the limit has passed.
func (in *instance) linger(lf lingerFor, passed time.Duration) {
	w, count, every := in.w, in.counter(listener.connections), lf.every()
	if lf.what == api.Answers {
		count = in.counter(listener.unanswered)
	}
	ctx, enough := context.WithTimeout(context.Background(), lf.limit-passed)
	first := min(passed, every) // an earlier daemon has looked
	this := &lingerWait{in, lf, enough}
	in.lingers = this
	in.owner.async(func() {
		defer enough()
		for wait := first; ctx.Err() == nil; wait = every {
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
				in.noteOpen(left, lf)
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
// with them is its affair: it closes idle ones, and lets requests that are in progress end. So it is no
// cost that a request takes longer than the wait for answers, or that a client has sent nothing.
func (in *instance) noteOpen(open int, lf lingerFor) {
	if open == 0 {
		return
	}
	in.owner.log.Info("connections outlast the wait for them",
		append(in.fields(), zap.Int("connections", open), zap.String("waited_for", string(lf.what)))...)
	if lf.what == api.Connections {
		in.gen.cost = append(in.gen.cost, fmt.Sprintf("%s of %s (generation %d) was told to stop after %s with %s open",
			in, in.gen.plan.Release.Name, in.gen.id, plain.Duration(lf.limit), plain.Count(open, "connection", "connections")))
	}
}

// counter returns what counts connections of the instance's worker, for a goroutine other than the
// owner.
func (in *instance) counter(kind func(listener, []int) (int, error)) func() (int, error) {
	w := in.w
	var list []listener
	for _, name := range in.proc.Listen {
		if l := in.listener(name); l.held() {
			list = append(list, l)
		}
	}
	return func() (open int, err error) {
		for _, l := range list {
			n, bad := kind(l, w.PIDs())
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
