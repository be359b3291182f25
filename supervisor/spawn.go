package supervisor

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// spawn starts a worker for the instance, when it is its turn. The start does not run in the owner,
// because it waits for disks: that of the worker's pipe, and that of its program. It comes back as begun.
func (in *instance) spawn() {
	in.turn++
	in.notified, in.healthy, in.dead, in.says, in.refusal = false, false, false, "", ""
	in.born = time.Now()
	in.owner.flags.open(in)
	var err error
	if in.gen.reopens(in.proc) {
		err = in.open()
	}
	if in.out == nil {
		in.outPath = in.outputPlace()
	}
	var spec worker.Spec
	if err == nil {
		spec, err = in.spec()
	}
	turn := in.turn
	in.spawning = true
	if err != nil {
		in.owner.async(func() { in.owner.post(func() { in.begun(turn, spawned{}, err) }) })
		return
	}
	limits, scratch, limit, who, piped := in.proc.limits(), in.scratch, in.proc.StartTimeout, in.String(), in.out != nil
	in.owner.starts.enqueue(in.gen.plan.urgency(in.proc), func() (then func()) {
		s, err := in.owner.startWithin(limit, func(ctx context.Context) (s spawned, err error) {
			if !piped {
				if s.out, err = in.owner.os.output(spec.Output, spec.User); err != nil {
					return spawned{}, err
				}
				if err := context.Cause(ctx); err != nil {
					return s, err
				}
			}
			spec.Cgroup = in.owner.group(spec, limits)
			spec.Scratch = in.owner.scratch(scratch, spec.User)
			spec.Requests = in.owner.pages(spec.Flag, spec.User)
			s.w, err = in.owner.os.start(ctx, spec)
			return s, err
		})
		in.owner.enter(who)
		return func() { in.begun(turn, s, err) }
	})
}

// spawned is what the start of a worker has made: its process, if it succeeded, and the pipe that it
// writes to, if there was none.
type spawned struct {
	w   process
	out output
}

// startWithin starts a worker, or gives up after the limit: a file system that does not answer may
// keep it for ever. What comes of that in the end is killed.
func (co *core) startWithin(limit time.Duration, start func(context.Context) (spawned, error)) (spawned, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, fmt.Errorf(
		"its program was not loaded within %s: do the disks of its program and of the state directory answer?", limit,
	))
	type result struct {
		s   spawned
		err error
	}
	started := make(chan result, 1)
	go func() {
		s, err := start(ctx)
		started <- result{s, err}
	}()
	select {
	case r := <-started:
		cancel()
		return r.s, r.err
	case <-ctx.Done():
	}
	go func() {
		defer cancel()
		r := <-started
		co.discard(r.s)
	}()
	return spawned{}, context.Cause(ctx)
}

// discard ends a worker that was started too late, and its pipe.
func (co *core) discard(s spawned) {
	if s.w != nil {
		if err := s.w.KillAll(); err != nil {
			co.log.Error("kill a worker that was started too late", zap.Int("pid", s.w.PID()), zap.Error(err))
		}
	}
	if s.out != nil {
		if err := s.out.Close(); err != nil {
			co.log.Error("close the output of a worker that was started too late", zap.Error(err))
		}
	}
}
