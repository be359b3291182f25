package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// mostInstances is how many of a process may be asked for.
const mostInstances = 1000

// wanted is how many instances of a process there are to be: what somebody has asked for with
// scale, else the config's.
func (s *Supervisor) wanted(p *Process) int { return p.wanted(s.scale) }

func (p *Process) wanted(scale map[string]int) int {
	if n, ok := scale[p.Name]; ok && p.Strategy != Single {
		return n
	}
	return p.Instances
}

// refuseScale says why a number of instances cannot be.
func (s *Supervisor) refuseScale(instances map[string]int) error {
	if instances == nil {
		return s.refuseReset()
	}
	for _, name := range slices.Sorted(maps.Keys(instances)) {
		p, err := s.liveProcess(name)
		if err != nil {
			return err
		}
		switch n := instances[name]; {
		case n < 0 || n > mostInstances:
			return fmt.Errorf("%s=%d: write a number from 0 to %d", name, n, mostInstances)
		case n == 0 && len(p.Listen) > 0:
			return fmt.Errorf("%s=0: nobody would answer on its listener; write 1 or more", name)
		case len(instances) > 1 && s.shrinks(p, n):
			return fmt.Errorf(
				"%s=%d: to have fewer %s is to replace it, as a switch does: scale it alone", name, n, name,
			)
		case n != 1 && p.Strategy == Single:
			return fmt.Errorf(
				`%s=%d: its strategy is "single", of which there is one; superctl pause %s stops it`, name, n, name,
			)
		}
	}
	return nil
}

// refuseReset says why not all can have the numbers of the config: one change replaces one process.
func (s *Supervisor) refuseReset() error {
	var fewer, commands []string
	for i := range s.live.plan.Processes {
		if p := &s.live.plan.Processes[i]; s.shrinks(p, p.Instances) {
			fewer = append(fewer, p.Name)
			commands = append(commands, fmt.Sprintf("superctl scale %s=%d", p.Name, p.Instances))
		}
	}
	if len(fewer) < 2 {
		return nil
	}
	return fmt.Errorf("%s would have fewer instances, and for that each is replaced, as in a switch: %s first", strings.Join(fewer, " and "),
		strings.Join(commands[1:], ", "))
}

// shrinks tells whether a process would have fewer instances on one listener. None of those can be
// stopped without losing requests while others accept from the same queue (what some servers have
// accepted and not read they drop), so all are replaced.
func (s *Supervisor) shrinks(p *Process, n int) bool {
	return len(p.Listen) > 0 && n < s.wanted(p) && !s.live.apart(p.Name)
}

// shrinks is the process that has to be replaced for a scale, if there is one.
func (c *change) shrinks() (name string) {
	_ = c.s.do(func() {
		for i := range c.from.plan.Processes {
			p := &c.from.plan.Processes[i]
			n, ok := c.req.Instances[p.Name]
			if c.req.Instances == nil {
				n, ok = p.Instances, true
			}
			if ok && c.s.shrinks(p, n) {
				name = p.Name
			}
		}
	})
	return name
}

// shrink replaces the instances of a process by fewer, like a restart of it. When all numbers are
// to be the config's again, those of the other processes come first.
func (c *change) shrink() error {
	name := c.shrinks()
	var asked, others map[string]int
	if err := c.s.do(func() {
		asked = c.asked()
		others = maps.Clone(asked)
		others[name] = c.s.wanted(c.from.process(name))
	}); err != nil {
		return err
	}
	if c.req.Instances == nil {
		if err := c.rescale(others); err != nil {
			return err
		}
		c.unchanged = ""
	}
	if err := c.s.do(func() {
		c.s.scale = asked
		c.to, c.kind, c.req.Process = nil, Restart, name // the owner writes them into the state file
	}); err != nil {
		return err
	}
	err := c.turnOver()
	if err != nil && !errors.Is(err, ErrStopping) {
		_ = c.s.do(func() { c.s.scale, c.s.dirty = others, true })
	}
	return err
}

// asked is the numbers of instances that there are to be.
func (c *change) asked() map[string]int {
	asked := make(map[string]int)
	if c.req.Instances != nil {
		maps.Copy(asked, c.s.scale)
		maps.Copy(asked, c.req.Instances)
	}
	return asked
}

// liveProcess finds a process of the live generation.
func (s *Supervisor) liveProcess(name string) (*Process, error) {
	if p := s.live.process(name); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf(
		"no process is called %q; %s has %v", name, s.live.plan.Release.Name, processNames(s.live.plan),
	)
}

// rescaleAsked brings the live generation to the numbers that are asked for.
func (c *change) rescaleAsked() error {
	var asked map[string]int
	if err := c.s.do(func() { asked = c.asked() }); err != nil {
		return err
	}
	return c.rescale(asked)
}

// rescale brings the live generation to those numbers. Those that are too few are started first,
// and when one of them does not become ready all is as it was.
func (c *change) rescale(asked map[string]int) error {
	c.plan = c.from.plan
	beside := false
	if err := c.s.do(func() {
		c.release = c.plan.Release
		beside = len(c.s.addedBeside(c.from, asked)) > 0
	}); err != nil {
		return err
	}
	if beside {
		added := func(g *generation) []*instance { return c.s.addedBeside(g, asked) }
		if err := c.step(stepPreflight, func(ctx context.Context) (string, error) {
			return c.tryPrivately(ctx, added)
		}); err != nil {
			return err
		}
	}
	return c.inPlace(stepScale, func(ctx context.Context) (string, error) { return c.rescaleTo(ctx, asked) })
}

// addedBeside makes the instances that a generation would get beside others on one listener. There
// they take real requests from their first moment, and the others would answer a health check for
// them: they have to be proved elsewhere.
func (s *Supervisor) addedBeside(g *generation, asked map[string]int) (list []*instance) {
	for i := range g.plan.Processes {
		p := &g.plan.Processes[i]
		if len(p.Listen) == 0 || s.live.apart(p.Name) {
			continue
		}
		for n := s.wanted(p); n < p.wanted(asked); n++ {
			list = append(list, newInstance(g, p, n))
		}
	}
	return list
}

func (c *change) rescaleTo(ctx context.Context, asked map[string]int) (string, error) {
	var was map[string]int
	var added []*instance
	var told []string
	if err := c.s.do(func() {
		was = c.s.scale
		told = c.s.differences(asked)
		// From here on, so that a daemon which takes over meanwhile goes on with it: to stop the
		// new ones again would lose what they have accepted.
		c.s.scale, c.s.dirty = asked, true
		if len(told) > 0 {
			added = c.s.addInstances(c.to)
		}
	}); err != nil {
		return "", err
	}
	if len(told) == 0 {
		c.unchanged = "all processes run as many instances as that already"
		return c.unchanged, nil
	}
	if err := c.startHere(ctx, added); err != nil {
		if stopped := c.s.do(func() { c.s.scale, c.s.dirty = was, true }); stopped != nil {
			return "", stopped
		}
		return "", errors.Join(err, c.dropInstances(added))
	}
	var surplus []*instance
	if err := c.s.do(func() { surplus = c.s.surplus(c.to) }); err != nil {
		return "", err
	}
	return strings.Join(told, ", "), c.dropInstances(surplus)
}

// differences tells what a set of numbers changes, in words.
func (s *Supervisor) differences(asked map[string]int) (told []string) {
	for i := range s.live.plan.Processes {
		p := &s.live.plan.Processes[i]
		if before, now := s.wanted(p), p.wanted(asked); now != before {
			told = append(told, fmt.Sprintf("%s %d to %d", p.Name, before, now))
		}
	}
	return told
}

// addInstances adds to a generation the instances that it lacks, all idle. Those of a paused
// process are not started.
func (s *Supervisor) addInstances(g *generation) (added []*instance) {
	for i := range g.plan.Processes {
		p := &g.plan.Processes[i]
		for n := range s.wanted(p) {
			if slices.ContainsFunc(g.instances, func(in *instance) bool {
				return in.proc.Name == p.Name && in.index == n
			}) {
				continue
			}
			in := newInstance(g, p, n)
			g.instances = append(g.instances, in)
			if !s.paused[p.Name] {
				added = append(added, in)
			}
		}
	}
	s.sortInstances(g)
	return added
}

// sortInstances has the instances in the order of the plan.
func (s *Supervisor) sortInstances(g *generation) {
	order := processNames(g.plan)
	slices.SortStableFunc(g.instances, func(a, b *instance) int {
		if d := slices.Index(order, a.proc.Name) - slices.Index(order, b.proc.Name); d != 0 {
			return d
		}
		return a.index - b.index
	})
}

func newInstance(g *generation, p *Process, n int) *instance {
	return &instance{
		gen: g, proc: p, index: n, scratch: g.id, state: InstanceIdle, since: time.Now(),
		tail: worker.NewTail(tailLines),
	}
}

// surplus is the instances of a generation that are too many.
func (s *Supervisor) surplus(g *generation) (list []*instance) {
	for _, in := range g.instances {
		if in.index >= s.wanted(in.proc) {
			list = append(list, in)
		}
	}
	return list
}

// startHere starts instances of a live generation, on listeners of their own if they have such, and
// waits until all are ready.
func (c *change) startHere(ctx context.Context, list []*instance) error {
	var err error
	if stopped := c.s.do(func() {
		for _, in := range list {
			err = errors.Join(err, c.s.open(in))
		}
	}); stopped != nil {
		return stopped
	}
	if err != nil {
		return err
	}
	return c.startAll(ctx, func() []*instance { return list })
}

// dropInstances has instances finish, and takes them out of their generation.
func (c *change) dropInstances(list []*instance) error {
	if err := c.stopBatch(context.Background(), list); err != nil {
		return err
	}
	return c.s.do(func() {
		for _, in := range list {
			in.gen.instances = slices.DeleteFunc(in.gen.instances, func(other *instance) bool { return other == in })
		}
		c.s.dirty = true
	})
}

// fit brings a generation that was started before the newest scale, pause or resume to what is
// wanted now. It waits for nothing but the end of what is too much.
func (c *change) fit(g *generation) error {
	var surplus []*instance
	if err := c.s.do(func() {
		surplus = c.s.surplus(g)
		for _, in := range c.s.addInstances(g) {
			if len(in.proc.Listen) == 0 {
				continue
			}
			if err := c.s.open(in); err != nil {
				c.s.log.Error("open listener", append(c.s.fields(in), zap.Error(err))...)
				continue
			}
			c.s.want(in)
		}
		for _, in := range g.instances {
			if c.s.paused[in.proc.Name] {
				c.s.unwant(in)
			}
		}
	}); err != nil || len(surplus) == 0 {
		return err
	}
	return c.dropInstances(surplus)
}

// refusePause says why a process cannot be paused or resumed.
func (s *Supervisor) refusePause(name string) error {
	p, err := s.liveProcess(name)
	if err == nil && len(p.Listen) > 0 {
		return fmt.Errorf(
			"%s has listeners, and nobody would answer on them: only background processes are paused", name,
		)
	}
	return err
}

// pause has the workers of a background process finish, until resume, whatever is switched to
// meanwhile.
func (c *change) pause(ctx context.Context) (string, error) {
	name := c.req.Process
	if err := c.s.do(func() {
		if c.s.paused[name] {
			c.unchanged = name + " is paused already"
			return
		}
		c.s.paused[name] = true
		c.s.dirty = true
	}); err != nil || c.unchanged != "" {
		return c.unchanged, err
	}
	return name, c.stopAll(ctx, func() []*instance { return c.to.of(name) })
}

// isPaused asks the owner.
func (s *Supervisor) isPaused(process string) (paused bool) {
	_ = s.do(func() { paused = s.paused[process] })
	return paused
}

// resumePaused has a paused process run again. When it does not start it is paused as before.
func (c *change) resumePaused(ctx context.Context) (string, error) {
	name := c.req.Process
	if err := c.s.do(func() {
		if !c.s.paused[name] {
			c.unchanged = name + " is not paused"
			return
		}
		delete(c.s.paused, name)
		c.s.dirty = true
	}); err != nil || c.unchanged != "" {
		return c.unchanged, err
	}
	list := func() []*instance { return c.to.of(name) }
	err := c.startAll(ctx, list)
	if err == nil {
		return name, nil
	}
	if stopped := c.s.do(func() { c.s.paused[name] = true }); stopped != nil {
		return "", stopped
	}
	return "", errors.Join(err, c.stopAll(context.WithoutCancel(ctx), list))
}
