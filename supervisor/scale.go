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

// scaling changes how many instances of a process run.
type scaling struct{ *change }

func (c *change) scaling() scaling { return scaling{c} }

// mostInstances is how many of a process may be asked for.
const mostInstances = 1000

// demand is what operators have asked for in the place of the config's numbers.
type demand struct {
	*core
	owner  *Supervisor
	scale  map[string]int  // instances of a process
	paused map[string]bool // background processes that are not to run
}

// wanted is how many instances of a process there are to be: what an operator asked for with
// scale, else the config's.
func (dm *demand) wanted(p *Process) int { return p.wanted(dm.scale) }

func (p *Process) wanted(scale map[string]int) int {
	if n, ok := scale[p.Name]; ok && p.Strategy != Single {
		return n
	}
	return p.Instances
}

// refuseScale says why a number of instances cannot be.
func (ad *admission) refuseScale(instances map[string]int) error {
	if instances == nil {
		return ad.refuseReset()
	}
	for _, name := range slices.Sorted(maps.Keys(instances)) {
		p, err := ad.liveProcess(name)
		if err != nil {
			return err
		}
		switch n := instances[name]; {
		case n < 0 || n > mostInstances:
			return fmt.Errorf("%s=%d: write a number from 0 to %d", name, n, mostInstances)
		case n == 0 && len(p.Listen) > 0:
			return fmt.Errorf("%s=0: no worker would answer on its listener; use 1 or more", name)
		case len(instances) > 1 && ad.owner.demand.shrinks(p, n):
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
func (ad *admission) refuseReset() error {
	var fewer, commands []string
	for i := range ad.owner.live.plan.Processes {
		if p := &ad.owner.live.plan.Processes[i]; ad.owner.demand.shrinks(p, p.Instances) {
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

// shrinks reports whether a process would have fewer instances on one listener. None of those can
// be stopped without losing requests while others accept from the same queue (what some servers
// have accepted and not read they drop), so all are replaced.
func (dm *demand) shrinks(p *Process, n int) bool {
	return len(p.Listen) > 0 && n < dm.wanted(p) && !dm.owner.live.apart(p.Name)
}

// shrinks is the process that has to be replaced for a scale, if there is one.
func (sc scaling) shrinks() (name string) {
	_ = sc.owner.do(func() {
		for i := range sc.from.plan.Processes {
			p := &sc.from.plan.Processes[i]
			n, ok := sc.req.Instances[p.Name]
			if sc.req.Instances == nil {
				n, ok = p.Instances, true
			}
			if ok && sc.owner.demand.shrinks(p, n) {
				name = p.Name
			}
		}
	})
	return name
}

// shrink replaces the instances of a process by fewer, like a restart of it. When all numbers are
// to be the config's again, those of the other processes come first.
func (sc scaling) shrink() error {
	name := sc.shrinks()
	var asked, others map[string]int
	if err := sc.owner.do(func() {
		asked = sc.asked()
		others = maps.Clone(asked)
		others[name] = sc.owner.demand.wanted(sc.from.process(name))
	}); err != nil {
		return err
	}
	if sc.req.Instances == nil {
		if err := sc.rescale(others); err != nil {
			return err
		}
		sc.unchanged = ""
	}
	if err := sc.owner.do(func() {
		sc.owner.demand.scale = asked
		sc.to, sc.kind, sc.req.Process = nil, Restart, name // the owner writes them into the state file
	}); err != nil {
		return err
	}
	err := sc.turnOver()
	if err != nil && !errors.Is(err, ErrStopping) {
		_ = sc.owner.do(func() { sc.owner.demand.scale, sc.owner.journal.dirty = others, true })
	}
	return err
}

// asked is the numbers of instances that there are to be.
func (sc scaling) asked() map[string]int {
	asked := make(map[string]int)
	if sc.req.Instances != nil {
		maps.Copy(asked, sc.owner.demand.scale)
		maps.Copy(asked, sc.req.Instances)
	}
	return asked
}

// liveProcess finds a process of the live generation.
func (ad *admission) liveProcess(name string) (*Process, error) {
	if p := ad.owner.live.process(name); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf(
		"there is no process %q: %s has %s", name, ad.owner.live.plan.Release.Name,
		strings.Join(processNames(ad.owner.live.plan), ", "),
	)
}

// perform brings the live generation to the numbers that are asked for.
func (sc scaling) perform() error {
	var asked map[string]int
	if err := sc.owner.do(func() { asked = sc.asked() }); err != nil {
		return err
	}
	return sc.rescale(asked)
}

// rescale brings the live generation to those numbers. Those that are too few are started first,
// and when one of them does not become ready all is as it was.
func (sc scaling) rescale(asked map[string]int) error {
	sc.plan = sc.from.plan
	beside, more := false, false
	if err := sc.owner.do(func() {
		sc.release = sc.plan.Release
		beside, more = len(sc.owner.demand.addedBeside(sc.from, asked)) > 0, sc.owner.demand.grows(asked)
	}); err != nil {
		return err
	}
	if more {
		if err := sc.owner.startable(sc.plan.Release); err != nil {
			return err
		}
	}
	if beside {
		added := func(g *generation) []*instance { return sc.owner.demand.addedBeside(g, asked) }
		if err := sc.step(stepPreflight, func(ctx context.Context) (string, error) {
			return sc.trial().proveOnly(ctx, added)
		}); err != nil {
			return err
		}
	}
	return sc.inPlace(stepScale, func(ctx context.Context) (string, error) { return sc.rescaleTo(ctx, asked) })
}

// addedBeside makes the instances that a generation would get beside others on one listener. There
// they take real requests from their first moment, and the others would answer a health check for
// them: they have to be proved elsewhere.
func (dm *demand) addedBeside(g *generation, asked map[string]int) (list []*instance) {
	for i := range g.plan.Processes {
		p := &g.plan.Processes[i]
		if len(p.Listen) == 0 || dm.owner.live.apart(p.Name) {
			continue
		}
		for n := dm.wanted(p); n < p.wanted(asked); n++ {
			list = append(list, newInstance(g, p, n))
		}
	}
	return list
}

func (sc scaling) rescaleTo(ctx context.Context, asked map[string]int) (string, error) {
	var was map[string]int
	var added []*instance
	var told []string
	if err := sc.owner.do(func() {
		was = sc.owner.demand.scale
		told = sc.owner.demand.differences(asked)
		// From here on, so that a daemon which takes over meanwhile goes on with it: to stop the
		// new ones again would lose what they have accepted.
		sc.owner.demand.scale, sc.owner.journal.dirty = asked, true
		if len(told) > 0 {
			added = sc.to.addInstances()
		}
	}); err != nil {
		return "", err
	}
	if len(told) == 0 {
		sc.unchanged = "all processes run as many instances as that already"
		return sc.unchanged, nil
	}
	if err := sc.startHere(ctx, added); err != nil {
		if stopped := sc.owner.do(func() {
			sc.owner.demand.scale, sc.owner.journal.dirty = was, true
		}); stopped != nil {
			return "", stopped
		}
		return "", errors.Join(err, sc.dropInstances(added))
	}
	var surplus []*instance
	if err := sc.owner.do(func() { surplus = sc.to.surplus() }); err != nil {
		return "", err
	}
	return strings.Join(told, ", "), sc.dropInstances(surplus)
}

// differences tells what a set of numbers changes, in words.
func (dm *demand) differences(asked map[string]int) (told []string) {
	for i := range dm.owner.live.plan.Processes {
		p := &dm.owner.live.plan.Processes[i]
		if before, now := dm.wanted(p), p.wanted(asked); now != before {
			told = append(told, fmt.Sprintf("%s %d to %d", p.Name, before, now))
		}
	}
	return told
}

// grows reports whether a set of numbers has a process of the live generation run more instances.
func (dm *demand) grows(asked map[string]int) bool {
	return slices.ContainsFunc(dm.owner.live.plan.Processes, func(p Process) bool { return p.wanted(asked) > dm.wanted(&p) })
}

// addInstances adds to a generation the instances that it lacks, all idle. Those of a paused
// process are not started.
func (g *generation) addInstances() (added []*instance) {
	for i := range g.plan.Processes {
		p := &g.plan.Processes[i]
		for n := range g.owner.demand.wanted(p) {
			if slices.ContainsFunc(g.instances, func(in *instance) bool {
				return in.proc.Name == p.Name && in.index == n
			}) {
				continue
			}
			in := newInstance(g, p, n)
			g.instances = append(g.instances, in)
			if !g.owner.demand.paused[p.Name] {
				added = append(added, in)
			}
		}
	}
	g.sortInstances()
	return added
}

// sortInstances has the instances in the order of the plan.
func (g *generation) sortInstances() {
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
		owner: g.owner, gen: g, proc: p, index: n, scratch: g.id, state: InstanceIdle, since: time.Now(),
		tail: worker.NewTail(tailLines),
	}
}

// surplus is the instances of a generation that are too many.
func (g *generation) surplus() (list []*instance) {
	for _, in := range g.instances {
		if in.index >= g.owner.demand.wanted(in.proc) {
			list = append(list, in)
		}
	}
	return list
}

// startHere starts instances of a live generation, on listeners of their own if they have such, and
// waits until all are ready.
func (sc scaling) startHere(ctx context.Context, list []*instance) error {
	var err error
	if stopped := sc.owner.do(func() {
		for _, in := range list {
			err = errors.Join(err, in.open())
		}
	}); stopped != nil {
		return stopped
	}
	if err != nil {
		return err
	}
	return sc.background().startAll(ctx, func() []*instance { return list })
}

// dropInstances has instances finish, and takes them out of their generation.
func (sc scaling) dropInstances(list []*instance) error {
	if err := sc.roll().stopBatch(context.Background(), list); err != nil {
		return err
	}
	return sc.owner.do(func() {
		for _, in := range list {
			in.gen.instances = slices.DeleteFunc(in.gen.instances, func(other *instance) bool { return other == in })
		}
		sc.owner.journal.dirty = true
	})
}

// fit brings a generation that was started before the newest scale, pause or resume to what is
// wanted now. It waits for nothing but the end of what is too much.
func (sc scaling) fit(g *generation) error {
	var surplus []*instance
	if err := sc.owner.do(func() {
		surplus = g.surplus()
		for _, in := range g.addInstances() {
			if len(in.proc.Listen) == 0 {
				continue
			}
			if err := in.open(); err != nil {
				sc.owner.log.Error("open listener", append(in.fields(), zap.Error(err))...)
				continue
			}
			in.start()
		}
		for _, in := range g.instances {
			if sc.owner.demand.paused[in.proc.Name] {
				in.stop()
			}
		}
	}); err != nil || len(surplus) == 0 {
		return err
	}
	return sc.dropInstances(surplus)
}

// refusePause says why a process cannot be paused or resumed.
func (ad *admission) refusePause(name string) error {
	p, err := ad.liveProcess(name)
	if err == nil && len(p.Listen) > 0 {
		return fmt.Errorf(
			"%s has listeners: only background processes can be paused", name,
		)
	}
	return err
}

// pause has the workers of a background process finish, until resume, whatever is switched to
// meanwhile.
func (sc scaling) pause(ctx context.Context) (string, error) {
	name := sc.req.Process
	if err := sc.owner.do(func() {
		if sc.owner.demand.paused[name] {
			sc.unchanged = name + " is paused already"
			return
		}
		sc.owner.demand.paused[name] = true
		sc.owner.journal.dirty = true
	}); err != nil || sc.unchanged != "" {
		return sc.unchanged, err
	}
	return name, sc.background().stopAll(ctx, func() []*instance { return sc.to.of(name) })
}

// isPaused asks the owner.
func (dm *demand) isPaused(process string) bool {
	return ask(dm.core, func() bool { return dm.paused[process] })
}

// resumePaused has a paused process run again. When it does not start it is paused as before.
func (sc scaling) resumePaused(ctx context.Context) (string, error) {
	name := sc.req.Process
	if !sc.owner.demand.isPaused(name) {
		sc.unchanged = name + " is not paused"
		return sc.unchanged, nil
	}
	if err := sc.owner.startable(sc.plan.Release); err != nil {
		return "", err
	}
	if err := sc.owner.do(func() {
		delete(sc.owner.demand.paused, name)
		sc.owner.journal.dirty = true
	}); err != nil {
		return "", err
	}
	list := func() []*instance { return sc.to.of(name) }
	err := sc.background().startAll(ctx, list)
	if err == nil {
		return name, nil
	}
	if stopped := sc.owner.do(func() { sc.owner.demand.paused[name] = true }); stopped != nil {
		return "", stopped
	}
	return "", errors.Join(err, sc.background().stopAll(context.WithoutCancel(ctx), list))
}

// scaled is how many instances of a process an operator has asked for; 0 = not asked for.
func (dm *demand) scaled(process string) int {
	return ask(dm.core, func() int { return dm.scale[process] })
}
