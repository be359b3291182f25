package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// backgroundRun starts and stops the processes that have no listeners.
type backgroundRun struct{ *change }

func (c *change) background() backgroundRun { return backgroundRun{c} }

// any reports whether the generation has processes that follow the cutover.
func (b backgroundRun) any(g *generation) bool {
	return b.kind != Restart &&
		slices.ContainsFunc(g.instances, func(in *instance) bool { return len(in.proc.Listen) == 0 })
}

// follow starts the processes without listeners. When a daemon starts there may be nothing
// to go back to.
func (b backgroundRun) follow(ctx context.Context) (string, error) {
	if b.from == nil && b.req.Kind == start {
		return b.serve(ctx, b.to)
	}
	return b.moveAll(ctx, b.from, b.to)
}

// moveAll starts the processes of to that have no listeners. The first that fails ends the
// start of the others.
func (b backgroundRun) moveAll(ctx context.Context, from, to *generation) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list := b.unpaused(to)
	failed := inOrder(list, func(p *Process) error {
		err := context.Cause(ctx)
		if err == nil {
			err = b.moveProcess(ctx, p, from, to)
		}
		if err != nil {
			cancel()
		}
		return err
	})
	for _, err := range failed {
		if err != nil && !errors.Is(err, context.Canceled) {
			return "", err
		}
	}
	return namesOf(list, failed), errors.Join(failed...)
}

// serve starts the processes of a live generation that have no listeners. One that fails
// keeps no other from running, and is started again until it works.
func (b backgroundRun) serve(ctx context.Context, g *generation) (string, error) {
	list := b.unpaused(g)
	failed := inOrder(list, func(p *Process) error { return b.moveProcess(ctx, p, nil, g) })
	for _, err := range failed {
		if errors.Is(err, ErrStopping) {
			return "", err
		}
	}
	return namesOf(list, failed), errors.Join(failed...)
}

// inOrder starts processes side by side, each when the start of those before it in the list that
// its `after` names is over, and returns the error of each. The config has put them in order.
func inOrder(list []*Process, start func(*Process) error) []error {
	over := make(map[string]chan struct{}, len(list))
	before := make([][]chan struct{}, len(list))
	for i, p := range list {
		for _, name := range p.After {
			if done, ok := over[name]; ok {
				before[i] = append(before[i], done)
			}
		}
		over[p.Name] = make(chan struct{})
	}
	failed := make([]error, len(list))
	var all sync.WaitGroup
	for i, p := range list {
		all.Go(func() {
			defer close(over[p.Name])
			for _, earlier := range before[i] {
				<-earlier
			}
			failed[i] = start(p)
		})
	}
	all.Wait()
	return failed
}

// namesOf names the processes that have not failed.
func namesOf(list []*Process, failed []error) string {
	var names []string
	for i, p := range list {
		if failed[i] == nil {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, ", ")
}

// unpaused are the processes of g that have no listeners and are to run.
func (b backgroundRun) unpaused(g *generation) (list []*Process) {
	for i := range g.plan.Processes {
		if p := &g.plan.Processes[i]; len(p.Listen) == 0 && !b.owner.demand.isPaused(p.Name) {
			list = append(list, p)
		}
	}
	return list
}

// moveProcess starts one process of to that has no listeners, as its strategy says.
func (b backgroundRun) moveProcess(ctx context.Context, p *Process, from, to *generation) error {
	b.owner.enter(p.Name)
	if from != nil && p.Strategy == Rolling {
		return b.roll().rollProcess(ctx, p, from, to)
	}
	list := ask(b.owner.core, func() []*instance { return to.of(p.Name) })
	return b.startAll(ctx, func() []*instance { return list })
}

// stopAll has instances finish and waits until they have: each has its drain limit, so this ends.
func (b backgroundRun) stopAll(ctx context.Context, list func() []*instance) error {
	if err := b.owner.do(func() {
		for _, in := range list() {
			in.stop()
		}
	}); err != nil {
		return err
	}
	return b.owner.await(ctx, func() (bool, error) {
		return !slices.ContainsFunc(list(), func(in *instance) bool { return in.state != InstanceExited }), nil
	})
}

// namesakes are the instances of other generations that must not run while those of the list do. An
// earlier generation than the one before may have some too, which have not finished yet.
func (s *Supervisor) namesakes(list []*instance) (others []*instance) {
	for _, in := range list {
		if in.proc.Strategy != Single {
			continue
		}
		for _, g := range ordered(s.generations) {
			if g != in.gen {
				others = append(others, g.of(in.proc.Name)...)
			}
		}
	}
	return others
}

// stillStopping returns the instances whose worker was told to stop and has not ended. One that only waits
// for its connections serves on instead.
func stillStopping(list []*instance) (stopping []*instance) {
	for _, in := range list {
		if in.lingers == nil && (in.state == InstanceStopping || in.state == InstanceKilling) {
			stopping = append(stopping, in)
		}
	}
	return stopping
}

// startAll starts instances and waits until all are ready; one that dies before is an error. Those
// with the strategy `single` wait until their namesakes are gone. One that an earlier daemon has told to
// stop ends first: its end is not that of the worker which is started.
func (b backgroundRun) startAll(ctx context.Context, list func() []*instance) error {
	if err := b.stopAll(ctx, func() []*instance { return append(b.owner.namesakes(list()), stillStopping(list())...) }); err != nil {
		return err
	}
	if err := b.owner.do(func() {
		for _, in := range list() {
			in.restarts, in.streak = 0, 0
			in.start()
		}
	}); err != nil {
		return err
	}
	return b.owner.await(ctx, func() (bool, error) {
		for _, in := range list() {
			if in.state == InstanceBackoff || in.restarts > 0 {
				return false, &failure{reason: in.String() + " " + in.reason, log: in.tail.Lines()}
			}
			if in.state != InstanceReady {
				return false, nil
			}
		}
		return true, nil
	})
}
