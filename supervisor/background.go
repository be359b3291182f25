package supervisor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// background tells whether the generation has processes that follow the cutover.
func (c *change) background(g *generation) bool {
	return c.kind != Restart &&
		slices.ContainsFunc(g.instances, func(in *instance) bool { return len(in.proc.Listen) == 0 })
}

// startBackground starts the processes without listeners. When a daemon starts there may be nothing
// to go back to.
func (c *change) startBackground(ctx context.Context) (string, error) {
	if c.from == nil && c.req.Kind == start {
		return c.serveBackground(ctx, c.to)
	}
	return c.moveBackground(ctx, c.from, c.to)
}

// moveBackground starts the processes of to that have no listeners. The first that fails ends the
// start of the others.
func (c *change) moveBackground(ctx context.Context, from, to *generation) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list := c.unpaused(to)
	failed := inOrder(list, func(p *Process) error {
		err := context.Cause(ctx)
		if err == nil {
			err = c.moveProcess(ctx, p, from, to)
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

// serveBackground starts the processes of a live generation that have no listeners. One that fails
// keeps no other from running, and is started again until it works.
func (c *change) serveBackground(ctx context.Context, g *generation) (string, error) {
	list := c.unpaused(g)
	failed := inOrder(list, func(p *Process) error { return c.moveProcess(ctx, p, nil, g) })
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
	for _, i := range longestChainFirst(list) {
		p := list[i]
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

// longestChainFirst returns the indexes of processes, those first for which most others wait one
// after the other. When a thousand workers start at once, the start of each takes CPU, and the last
// in a chain is ready that much later.
func longestChainFirst(list []*Process) []int {
	behind := make(map[string]int, len(list)) // the longest chain that waits for each
	order := make([]int, len(list))
	for i, p := range slices.Backward(list) { // each comes after those that it names
		order[i] = i
		for _, name := range p.After {
			behind[name] = max(behind[name], behind[p.Name]+1)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(behind[list[b].Name], behind[list[a].Name]) })
	return order
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
func (c *change) unpaused(g *generation) (list []*Process) {
	for i := range g.plan.Processes {
		if p := &g.plan.Processes[i]; len(p.Listen) == 0 && !c.s.isPaused(p.Name) {
			list = append(list, p)
		}
	}
	return list
}

// moveProcess starts one process of to that has no listeners, as its strategy says.
func (c *change) moveProcess(ctx context.Context, p *Process, from, to *generation) error {
	c.s.enter(p.Name)
	if from != nil && p.Strategy == Rolling {
		return c.rollProcess(ctx, p, from, to)
	}
	return c.startAll(ctx, func() []*instance { return to.of(p.Name) })
}

// stopAll has instances finish and waits until they have: each has its drain limit, so this ends.
func (c *change) stopAll(ctx context.Context, list func() []*instance) error {
	if err := c.s.do(func() {
		for _, in := range list() {
			c.s.unwant(in)
		}
	}); err != nil {
		return err
	}
	return c.s.await(ctx, func() (bool, error) {
		return !slices.ContainsFunc(list(), func(in *instance) bool { return in.state != InstanceExited }), nil
	})
}

// namesakes are the instances of other generations that must not run beside those of the list. An
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

// startAll starts instances and waits until all are ready; one that dies before is an error. Those
// with the strategy `single` wait until their namesakes are gone.
func (c *change) startAll(ctx context.Context, list func() []*instance) error {
	if err := c.stopAll(ctx, func() []*instance { return c.s.namesakes(list()) }); err != nil {
		return err
	}
	if err := c.s.do(func() {
		for _, in := range list() {
			in.restarts, in.streak = 0, 0
			c.s.want(in)
		}
	}); err != nil {
		return err
	}
	return c.s.await(ctx, func() (bool, error) {
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
