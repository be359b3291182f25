// Package supervisor runs the generations of one app: it starts their workers, proves them, turns
// the gates from one generation to the next, and drains what is no longer wanted.
//
// It owns every worker's lifecycle and the change in progress. It guarantees that at most one
// change runs at a time, that a generation meets its first real connection only after it has proved
// itself, that whatever dies is started again from the plan of its own generation, and that a step
// which changes something is in the state file before it begins.
//
// It does not know what a release looks like, how a gate turns, or what a config file says:
// packages releases, socket and config do, and daemon joins them.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Supervisor owns all that runs: one goroutine, Run, owns its fields and those of its parts. Each
// part has the state of one concern and the methods that change it.
type Supervisor struct {
	*core
	book    *logbook
	since   time.Time
	beat    <-chan time.Time
	adopted chan struct{} // closed when all that an earlier daemon left is this one's

	generations              map[int]*generation
	next                     int // number of the next generation
	live                     *generation
	rolling                  *generation // takes the place of live, instance by instance
	release                  *Release    // live now, or when the daemon was last stopped
	previous                 *Release    // where a rollback goes
	liveSince, previousSince *liveSince  // the changes that made release and previous live; nil = not known
	change                   *change
	last                     *Outcome
	owed                     *Outcome // what is to be told of a change if this daemon ends now
	stopping                 bool
	leaving                  bool
	lastStatus               string // newest text given to Options.Say

	journal      journal
	recorder     recorder
	store        descriptorStore
	listeners    listenerSet
	flags        drainFlags
	counts       *counting
	mailbox      mailbox
	health       appHealth
	liveness     liveness
	recycling    recycling
	scheduling   scheduling
	startup      startup
	releaseWatch releaseWatch
	demand       demand
	maintenance  maintenance
	admission    admission
	strays       strayHunt
	memory       memoryFiles
	handover     handover
	view         view
	starts       startQueue
}

// ErrStopping refuses a change because the daemon is about to end.
var ErrStopping = errors.New("the daemon is stopping")

// New prepares a supervisor; nothing is started before Run.
func New(opt Options) *Supervisor {
	opt.Gates = newFronts(opt.Gates)
	s := &Supervisor{
		core: newCore(opt), book: newLogbook(opt.Sink), adopted: make(chan struct{}),
		generations: make(map[int]*generation), next: 1,
	}
	s.journal = journal{core: s.core, owner: s}
	s.recorder = recorder{core: s.core, owner: s}
	s.store = newDescriptorStore(s)
	s.listeners = newListenerSet(s)
	s.flags = drainFlags{core: s.core, owner: s}
	s.counts = newCounting(s)
	s.mailbox = mailbox{core: s.core, owner: s, inbound: newMessageQueue()}
	s.health = appHealth{core: s.core, owner: s, troubles: make(map[string]Trouble)}
	s.liveness = newLiveness(s)
	s.recycling = newRecycling(s)
	s.scheduling = newScheduling(s)
	s.startup = startup{core: s.core, owner: s, started: make(chan struct{})}
	s.releaseWatch = releaseWatch{core: s.core, owner: s}
	s.demand = demand{core: s.core, owner: s, scale: make(map[string]int), paused: make(map[string]bool)}
	s.maintenance = maintenance{core: s.core, owner: s}
	s.admission = admission{core: s.core, owner: s}
	s.strays = strayHunt{core: s.core, owner: s}
	s.memory = memoryFiles{core: s.core, owner: s}
	s.handover = handover{core: s.core, owner: s}
	s.view = view{core: s.core, owner: s}
	s.starts = startQueue{core: s.core}
	return s
}

// Run recovers what an earlier daemon left, starts the release that was live, and then owns
// everything until ctx ends; then it drains all workers and returns. Its error is a set-up failure:
// nothing was started.
func (s *Supervisor) Run(ctx context.Context) error {
	defer close(s.done)
	s.since = time.Now()
	defer s.book.close()
	if err := newRecovery(s).run(); err != nil {
		return err
	}
	keeper := s.startKeeper()
	if err := s.mailbox.open(); err != nil {
		return errors.Join(err, keeper.Release())
	}
	s.begin(ctx)
	s.listeners.check()
	unwatch := s.listeners.watch()
	defer unwatch()
	defer s.startBeat()()
	s.serve(ctx)
	defer s.recorder.end()
	if s.leaving {
		return s.leaveTo(keeper)
	}
	s.mailbox.close()
	unwatch()
	return s.end(keeper)
}

// begin makes this daemon the owner of what an earlier one left.
func (s *Supervisor) begin(ctx context.Context) {
	if s.opt.End {
		s.stop()
	} else {
		s.beginMaintenance()
		s.startup.begin(ctx)
	}
	s.look()
	s.store.sync()
	_ = s.journal.flush() // a failure says so itself
	s.say()
	close(s.adopted)
}

// startBeat starts the heartbeat for systemd's watchdog, and returns a function that ends it.
func (s *Supervisor) startBeat() (stop func()) {
	if s.opt.Beat == nil {
		return func() {}
	}
	ticker := time.NewTicker(s.opt.BeatEvery)
	s.beat = ticker.C
	s.opt.Beat()
	return ticker.Stop
}

// serve takes events until nothing is left to own.
func (s *Supervisor) serve(ctx context.Context) {
	stop := ctx.Done()
	for !s.over() {
		select {
		// What workers have said comes first in either case: which of two channels select takes is chance.
		case f := <-s.inbox:
			s.mailbox.receive()
			f()
			s.runWaiting()
		case <-s.mailbox.inbound.news:
			s.mailbox.receive()
			s.runWaiting()
		case <-s.beat:
			s.opt.Beat()
			s.counts.fold()
			continue
		case <-stop:
			stop = nil
			s.stop()
		}
		s.turn()
	}
}

// leaveTo leaves everything to the next daemon.
func (s *Supervisor) leaveTo(keeper keeper) error {
	for _, in := range s.reading() {
		in.pause() // what has been read is handed on, and the rest is the next daemon's
	}
	s.mailbox.pause()
	if s.handover.handedOver {
		return keeper.Release()
	}
	s.store.sync()
	return errors.Join(s.journal.flush(), keeper.Release())
}

// end writes and removes the last files, once all workers have ended.
func (s *Supervisor) end(keeper keeper) error {
	s.store.sync()
	err := s.journal.flush()
	s.drainAsync()
	s.flags.remove()
	s.memory.removeMemory()
	return errors.Join(err, keeper.End())
}

// over reports whether there is nothing left to own.
func (s *Supervisor) over() bool {
	return s.leaving || s.stopping && len(s.generations) == 0 && s.change == nil && len(s.scheduling.runs) == 0
}

// Adopted is closed when this daemon is in charge of all that an earlier one has left: when that
// one may go.
func (s *Supervisor) Adopted() <-chan struct{} { return s.adopted }

// Started is closed when the start of the daemon is decided: the live generation is proved, or was
// adopted and is at most on probation still, or it has failed to start and is tried again, or there
// is none.
func (s *Supervisor) Started() <-chan struct{} { return s.startup.started }

// KillAll ends every worker at once, while the supervisor stops: a second SIGTERM.
func (s *Supervisor) KillAll() {
	_ = s.do(func() {
		for _, g := range ordered(s.generations) {
			for _, in := range g.instances {
				in.wanted = false
				in.fire(killAsked)
			}
		}
	})
}

// turn is the end of every turn of the owner: what has changed is made durable and told.
func (s *Supervisor) turn() {
	if s.handover.handedOver {
		return
	}
	s.look()
	if s.journal.due() {
		s.store.sync()
		s.journal.begin()
	}
	s.say()
}

// look looks at conditions again, so that a lost event delays but never wedges.
func (s *Supervisor) look() {
	for _, g := range ordered(s.generations) {
		g.compare()
	}
	s.listeners.aim()
	s.listeners.replaceLost()
	s.maintenance.ensure()
	s.liveness.check()
	s.recycling.check()
	s.scheduling.check()
	s.recorder.check()
	s.flags.updateAll()
	s.counts.fold()
	s.wake()
	s.releaseWatch.watch()
	s.health.follow()
}

// stop begins the end: no new change, and everything drains.
func (s *Supervisor) stop() {
	s.stopping = true
	s.startup.stopWaiting()
	s.scheduling.end(ErrStopping)
	if s.change != nil {
		s.change.kill(ErrStopping)
	}
	for _, g := range ordered(s.generations) {
		g.endCanary()
	}
	for _, g := range ordered(s.generations) {
		if g.tried && g.state == Staged && !s.maintenance.is(g) {
			continue // it is being withdrawn, or will be by the change that has just been told to end
		}
		g.retire()
	}
	s.endLingering()
}

// mostATurn is how many events one turn takes.
const mostATurn = 256

// runWaiting runs what else waits for the owner. A turn ends with the state file and a look at
// every instance: when a thousand workers start at once, one turn for each would take as many times
// the size of the state.
func (s *Supervisor) runWaiting() {
	for range mostATurn {
		if s.over() {
			return // what comes now is the next daemon's
		}
		select {
		case f := <-s.inbox:
			f()
		default:
			return
		}
	}
}

func (s *Supervisor) say() {
	if s.opt.Say == nil {
		return
	}
	if text := s.sentence(); text != s.lastStatus {
		s.lastStatus = text
		s.opt.Say(text)
	}
}

// sentence is the state of the app in one line, for systemctl status.
func (s *Supervisor) sentence() string {
	switch {
	case s.stopping:
		return fmt.Sprintf("stopping: %d generations drain", len(s.generations))
	case s.change != nil && s.change.release.Name != "":
		return fmt.Sprintf("%s to %s: %s", s.change.req.Kind, s.change.release.Name, s.change.stepName)
	case s.change != nil:
		return fmt.Sprintf("%s: %s", s.change.req.Kind, s.change.stepName)
	}
	health, reason := s.health.verdict()
	if s.live == nil {
		if s.startup.failure == "" && s.startup.waiting == "" {
			reason += "; superctl switch RELEASE starts one"
		}
		return reason
	}
	text := fmt.Sprintf("%s (generation %d)", s.live.plan.Release.Name, s.live.id)
	if s.maintenance.on != nil && health == HealthDegraded {
		return s.maintenance.sentence() + "; " + text + " waits behind the page"
	}
	switch health {
	case HealthDown:
		return text + " does not serve: " + reason
	case HealthDegraded:
		return text + " is live, degraded: " + reason
	}
	return text + " is live"
}
