package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"superctl/api"

	"go.uber.org/zap"
)

// generation is all workers started together from one plan. Its id and plan never change; the rest
// is owned by Run.
type generation struct {
	owner   *Supervisor
	id      int
	plan    Plan
	gates   map[string]Gate // the app's own, or private ones in a preflight
	private bool            // a preflight's
	// has no workers: connections wait in its listeners, or it is only kept as the way back (see
	// hold.go)
	held bool

	// staged are the listeners from which all instances of a process accept. They are the
	// generation's own, but for one that a restart of another process has carried over.
	staged map[string]listener

	// tried says that the generation has had connections in a canary: before its cutover, but with
	// real requests, so whatever ends it lets it finish. canary is what it gets now; nil = nothing,
	// or all.
	tried  bool
	canary *CanaryStatus

	// alone says that nothing else served at some time of its life. A gate that leads nowhere lets the
	// kernel choose among all listeners of the address, so clients may have come to its own.
	alone bool

	// unroutable says that this daemon cannot direct connections to it, or away from it: an earlier
	// one has started it, and its listeners, or their places, are lost. Its workers serve, and are
	// replaced.
	unroutable bool

	// lost says that neither its workers nor its listeners have outlived the last daemon, and that
	// the generation which the change to it came from serves.
	lost bool

	// two generations serve at the same time, and are compared: each request is steered by itself
	mixed bool

	reverted bool // it was live and has failed: its connections are not waited for

	standsIn bool // it serves what is queued for workers that are gone (see standin.go)

	state     GenerationState
	since     time.Time
	instances []*instance
	proofs    map[string]*proof // by instance.lane
	failure   *failure          // the first that went wrong before it was proved
	deaths    int               // unexpected exits since it went live
	lastDeath string
	deathLog  []string // what the worker that died last wrote last
	cost      []string // what its end has cost: workers killed at their drain limit, connections that had not ended
	done      chan struct{}
}

// failure says why a generation is refused.
type failure struct {
	reason  string
	log     []string    // last lines of what failed
	culprit api.Culprit // "" = a worker, if log is not empty
	exit    *int        // of a hook or a check
	guard   bool        // the guard has found the release worse
}

func (f *failure) Error() string { return f.reason }

// newGeneration makes a generation with an instance for each worker of the plan, all idle. only
// names the one process to make instances for, "" for all.
func (s *Supervisor) newGeneration(plan Plan, gates map[string]Gate, only string) *generation {
	g := &generation{
		owner: s, id: s.next, plan: plan, gates: gates, state: Booting, since: time.Now(),
		staged: make(map[string]listener), proofs: make(map[string]*proof), done: make(chan struct{}),
	}
	s.next++
	for i := range g.plan.Processes {
		p := &g.plan.Processes[i]
		if only != "" && p.Name != only {
			continue
		}
		for n := range s.demand.wanted(p) {
			g.instances = append(g.instances, newInstance(g, p, n))
		}
	}
	s.generations[g.id] = g
	s.journal.dirty = true
	return g
}

// openListeners gives the generation its own listeners, but for those that it has taken over. They
// are in the store before a gate can turn to them: else connections would reach a listener that
// ends with this daemon.
func (g *generation) openListeners() error {
	for _, in := range g.instances {
		if err := in.open(); err != nil {
			return err
		}
	}
	g.owner.store.sync()
	return nil
}

// open sees to it that there are listeners for an instance: its generation's, or its own.
func (in *instance) open() error {
	g := in.gen
	for _, name := range in.proc.Listen {
		if in.listener(name).held() {
			continue // another instance's of the same process, or taken over
		}
		gate := g.gates[name]
		if gate == nil {
			return newListenerError(name)
		}
		list, number := g.staged, g.id
		if g.laned(in.proc) {
			if in.own == nil {
				in.own = make(map[string]listener)
			}
			list, number = in.own, lane(g.id, in.index)
		}
		if err := gate.Stage(number); err != nil {
			return fmt.Errorf("stage listener %q: %w", name, err)
		}
		list[name] = listener{gate, number}
		in.owner.journal.dirty = true
	}
	return nil
}

// reopens reports whether a process opens its listeners again when a worker of it starts and this daemon does
// not hold them. The other processes of the live generation get a successor instead (see renew).
func (g *generation) reopens(p *Process) bool {
	return g.laned(p) || g.state == Standby && !g.held && !g.sharedGate(p)
}

func newListenerError(name string) error {
	return fmt.Errorf("listener %q is new: restart the daemon to open it", name)
}

// lacks is a listener of the generation's workers that this daemon does not hold; "" when it holds
// all.
func (g *generation) lacks() string {
	have := g.listeners()
	for _, in := range g.instances {
		for _, name := range in.proc.Listen {
			if len(have[name]) == 0 {
				return name
			}
		}
	}
	return ""
}

// of lists the instances of one process.
func (g *generation) of(process string) []*instance {
	var list []*instance
	for _, in := range g.instances {
		if in.proc.Name == process {
			list = append(list, in)
		}
	}
	return list
}

// instance returns the instance of that number, nil if there is none.
func (g *generation) instance(process string, index int) *instance {
	for _, in := range g.instances {
		if in.proc.Name == process && in.index == index {
			return in
		}
	}
	return nil
}

// serves reports whether a worker of the generation that has listeners is ready.
func (g *generation) serves() bool {
	return slices.ContainsFunc(g.instances, func(in *instance) bool {
		return len(in.proc.Listen) > 0 && in.state == InstanceReady
	})
}

// transit moves the generation by its table.
func (g *generation) transit(ev generationEvent) {
	to, ok := generationTable[g.state][ev]
	if !ok {
		panic(fmt.Sprintf("supervisor: no transition for a generation that is %s and %s", g.state, ev))
	}
	if to == g.state {
		return
	}
	g.owner.log.Info("generation", zap.Int("generation", g.id), zap.String("release", g.plan.Release.Name),
		zap.String("from", string(g.state)), zap.String("to", string(to)))
	g.state, g.since = to, time.Now()
	g.owner.journal.dirty = true
}

// compare holds what a generation is against what its workers are, and moves it when they have got
// there.
func (g *generation) compare() {
	if live := g.owner.live; live == nil || live.held {
		g.alone = true
	}
	for name, p := range ordered(g.proofs) {
		if !slices.ContainsFunc(g.instances, func(in *instance) bool {
			return in.state == InstanceStarting && in.lane() == name
		}) {
			p.end()
			delete(g.proofs, name)
		}
	}
	switch g.state {
	case Booting:
		if g.failure == nil && g.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }) {
			g.transit(proved)
		}
	case Draining:
		if slices.ContainsFunc(g.instances, func(in *instance) bool { return in.state != InstanceExited }) {
			return
		}
		g.transit(emptied)
		g.remove()
	case Staged, Live, Standby, Gone:
	}
}

// provenBy reports whether all instances of the processes that match are ready.
func (g *generation) provenBy(match func(*Process) bool) bool {
	for _, in := range g.instances {
		if match(in.proc) && in.state != InstanceReady {
			return false
		}
	}
	return true
}

// retire tells every worker of the generation to finish. Connections are turned away from them before:
// one that came after the stop signal would wait in a queue that is closed.
func (g *generation) retire() {
	g.transit(retired)
	for _, in := range g.instances {
		in.leaving = true
	}
	g.owner.listeners.aim()
	for _, in := range g.instances {
		in.stop()
	}
	if g.owner.live == g {
		g.owner.live = nil
	}
}

// remove closes the listeners of a generation whose last worker has ended.
func (g *generation) remove() {
	delete(g.owner.generations, g.id)
	for _, list := range ordered(g.listeners()) {
		for _, l := range list {
			if !g.owner.listeners.shares(g, l) {
				g.close(l)
			}
		}
	}
	g.owner.listeners.forget(g)
	g.owner.journal.dirty = true
	g.owner.listeners.check()
	close(g.done)
	g.owner.memory.clearScratch()
	g.owner.counts.retire()
	g.recordCuts()
}

// shares reports whether another generation accepts from the same listener, as during a roll on one
// queue.
func (ls *listenerSet) shares(g *generation, l listener) bool {
	for _, other := range ls.owner.generations {
		if other != g && other.uses(l) {
			return true
		}
	}
	return false
}

// close gives up a listener from which no worker accepts any more.
func (g *generation) close(l listener) {
	log := g.owner.log.With(zap.Int("generation", g.id), zap.String("listener", l.gate.Name()))
	if n := l.queued(); n > 0 && !g.private && g.hadClients() {
		// A live generation stages the listener of a replaced worker again, under the same number.
		if !g.standsIn && g != g.owner.live && g.owner.listeners.standIn(l) {
			return
		}
		log.Warn(
			"connections are still queued for a generation that is gone; they are reset now", zap.Int("connections", n),
		)
	}
	if err := l.close(); err != nil {
		log.Error("close listener", zap.Error(err))
	}
}

// recordCuts puts into the history what the end of a generation has cost.
func (g *generation) recordCuts() {
	if len(g.cost) == 0 || g.owner.opt.Record == nil {
		return
	}
	record := Outcome{
		Kind: "drain", Result: Done, Release: g.plan.Release.Name, Commit: g.plan.Release.Commit, Generation: g.id,
		Warnings: g.cost, Who: "the daemon", Started: g.since, Seconds: time.Since(g.since).Seconds(),
	}
	g.owner.async(func() {
		if err := g.owner.recorder.record(record); err != nil {
			g.owner.log.Error("record history", zap.Error(err))
		}
	})
}

// fail notes the first thing that went wrong with a generation that has not proved itself.
func (g *generation) fail(in *instance, reason string) {
	g.endCanary()
	if g.failure != nil {
		return
	}
	g.failure = &failure{reason: reason}
	if in != nil {
		g.failure.log = in.tail.Lines()
	}
}

// refused reports whether the generation has failed before its cutover and without a canary.
func (g *generation) refused() bool { return g.failure != nil && !g.tried }

// hadClients reports whether clients may have come to the generation's listeners. Only health checks
// come to one that is refused while another one has served all the time.
func (g *generation) hadClients() bool { return !g.refused() || g.alone }

// respawns reports whether the generation's workers are started again when they die: only once it
// has proved itself. In a canary a death ends that, but what is queued for the worker is still to
// be served.
func (g *generation) respawns() bool {
	return g.state == Live || g.state == Standby || g.state == Staged && g.tried
}

// turnGates turns every listener of g to it. When one refuses, those already turned go back, so
// that the app is never split between two generations.
func (ls *listenerSet) turnGates(g, from *generation) error {
	if name := g.lacks(); name != "" {
		return fmt.Errorf("listener %q of generation %d is not held by this daemon", name, g.id)
	}
	names := slices.Sorted(maps.Keys(g.listeners()))
	for i, name := range names {
		serving := g.serving(name)
		if err := g.gates[name].Spread(numbersOf(serving)); err != nil {
			err = fmt.Errorf("cut listener %q over: %w", name, err)
			for _, turned := range names[:i] {
				if from == nil || len(from.serving(turned)) == 0 {
					continue
				}
				ls.aimed[turned] = from.serving(turned)
				err = errors.Join(err, from.gates[turned].Spread(numbersOf(ls.aimed[turned])))
			}
			return err
		}
		ls.aimed[name] = serving
		ls.wasSet(g.gates[name])
	}
	return nil
}
