// Package supervisor runs the generations of one app: it starts their workers, proves them, turns
// the gates from one generation to the next, and drains what is no longer wanted.
//
// It owns every worker's lifecycle and the change in progress. It guarantees that at most one
// change runs at a time, that a generation meets its first real connection only after it has proved
// itself, that whatever dies is started again from the plan of its own generation, and that every
// step is in the state file before the next begins.
//
// It does not know what a release looks like, how a gate turns, or what a config file says:
// packages releases, socket and config do, and cli joins them.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
)

// Options are what a Supervisor is made of.
type Options struct {
	App     string
	Version string
	State   string // directory of the state file and of the workers' output pipes
	Hook    string // directory for the drain hook and the workers' flags, which all workers can reach; "" for none
	Scratch string // directory for the generations' scratch directories, which all workers can reach; "" for none
	Values  Values
	Notify  string // path of the socket for READY=1 and STATUS= from workers; "" for none

	Gates []Gate
	// Unused names the listeners that no process of the config accepts from.
	Unused []string
	// Resolve turns a request into a plan: it finds the release, checks it, and reads the config
	// anew.
	Resolve func(context.Context, Target) (Plan, error)
	// Freeze keeps every release where it is until thaw is called: until everybody can see which
	// one Resolve has found. nil for none.
	Freeze func(context.Context) (thaw func(), err error)
	// Share links the plan's shared paths into its release, and says what it has made; inUse says
	// that workers run from the release already. nil for none.
	Share func(plan Plan, inUse bool) (detail string, err error)
	// Inspect has its say on where a switch or a rollback goes, before anything of it is begun; nil
	// for none. What it writes is shown and kept as a hook's output is.
	Inspect func(ctx context.Context, i Inspection, line func(string)) (detail string, err error)
	// Look looks at what a starting worker runs and listens on, before it may be ready; nil for
	// never. Its error says what of that cannot be, as a sentence that begins with its verb, or is
	// ErrUnseen. It is called by several goroutines at a time.
	Look func(context.Context, Look) error
	// Point makes the `current` link follow the live release; nil for none.
	Point func(Release) error
	// Moved returns where the `current` link leads, when that is not the release; "" when all is
	// well. nil for never.
	Moved func(Release) string
	// Broken says why no worker can be started from a release any more: it was removed, or its
	// interpreter was; nil for never. It is called for status, and only looks at the release's
	// directory.
	Broken func(Release) error
	// Watch calls changed whenever a release may have been lost, until ctx ends; nil for never.
	Watch func(ctx context.Context, r Release, changed func()) error
	// Room says why the state directory takes no more files, such as a full disk; nil for never. It
	// is called for status.
	Room func() error
	// Record keeps an outcome in the history; nil for none.
	Record func(Outcome) error
	// Tell is told when a change of the release or the config begins its work (its outcome is ""
	// yet), and once how it has ended, even if this daemon is killed meanwhile: then the next one
	// tells it. One that is killed just after it has told of an end has that told again; Started
	// says that it is the same change. Nil for nobody. The change waits for it. It is told of the
	// health of the app too (HealthKind), once for each trouble and once when that is over.
	Tell func(Outcome)
	// Say tells systemd how things stand, one line at each change; nil for none.
	Say func(status string)
	// Sink is where every line of a worker goes on to, beside what is kept for Logs; nil for
	// nowhere. It may block.
	Sink func(LogLine)
	// Inherited gives the descriptor that an earlier daemon has handed over under that name, by
	// systemd's store or in an upgrade; nil for none.
	Inherited func(name string) (fd int, ok bool)
	// Handed is the names of what Inherited can give.
	Handed []string
	// Former makes the gate of a listener that was in an earlier config: with that address, and of
	// that kind.
	Former func(name, address, kind string) (Gate, error)
	// Stored is the names of what is in Store when this daemon starts.
	Stored []string
	// Store keeps descriptors for the next daemon, in systemd's store; nil for nowhere.
	Store Store
	// Extra is descriptors that the next daemon needs beside the supervisor's own.
	Extra []Descriptor
	// Renew is how an upgrade is made; without it there is none.
	Renew Renew
	// Cgroups is where each worker gets a control group of its own; nil where none is delegated.
	Cgroups *cgroup.Tree
	// Beat is called by the owner every BeatEvery, to tell systemd's watchdog that the owner is not
	// stuck; nil for never.
	Beat      func()
	BeatEvery time.Duration
	// Trial ends each switch when its generation has proved itself: the gates do not turn, and its
	// workers are stopped.
	Trial bool
	// End has everything that an earlier daemon has left finish and end; nothing is started.
	End bool
	// Troubles tells what around the app does not work, for status alone; nil for nothing. What
	// concerns the health of the app goes to Report.
	Troubles func() []Trouble
	// NotInForce says what of the config is not in force, when the live generation was made from
	// the one with that Plan.Config; "" for nothing. It is asked for each status; nil for never.
	NotInForce func(config string) string
	// Complaint is what is wrong with the daemon's own surroundings, for status; "" for nothing.
	Complaint string
	// Fault is called just before and just after each step of a change, an upgrade and a recovery,
	// with its name; tests end the daemon there.
	Fault func(point string)

	Log *zap.Logger
}

// Values is where the values of variables are while no daemon runs.
type Values struct {
	Dir  string            // in memory; "" for nowhere
	Read func(*Plan) error // reads those of a plan from the config as it is now, when they are not in Dir
}

// Target is what Resolve is to find.
type Target struct {
	Kind     Kind
	Word     string   // as the user gave it; "" for a reload, a rollback and a start
	Live     *Release // nil when none is
	Previous *Release // nil when there is none
}

// Starting tells whether a daemon starts, rather than somebody asks for a change.
func (t Target) Starting() bool { return t.Kind == start }

// Supervisor owns all that runs. Everything below inbox is owned by Run: other goroutines reach it
// by post and do only.
type Supervisor struct {
	opt   Options
	os    system
	log   *zap.Logger
	book  *logbook
	since time.Time

	inbox   chan func()
	heard   *unheard // what workers say
	beat    <-chan time.Time
	meter   meter
	done    chan struct{}  // closed when Run has returned
	adopted chan struct{}  // closed when all that an earlier daemon left is this one's
	started chan struct{}  // closed when the first generation is proved, has failed, or there is none to start
	aside   sync.WaitGroup // every goroutine that the owner started

	startedOnce sync.Once

	gates                    map[string]Gate
	former                   map[string]Gate // of an earlier config, by their names in the state file (see former.go)
	generations              map[int]*generation
	next                     int // number of the next generation
	live                     *generation
	rolling                  *generation // takes the place of live, instance by instance
	cares                    map[string]*listenerCare
	aimed                    map[string][]int // what each listener's connections were last spread over
	release                  *Release         // live now, or when the daemon was last stopped
	previous                 *Release         // where a rollback goes
	liveSince, previousSince *liveSince       // the changes that made release and previous live; nil = not known
	scale                    map[string]int   // instances of a process that somebody asked for, instead of the config's
	paused                   map[string]bool  // background processes that are not to run
	change                   *change
	last                     *Outcome
	untold                   *Outcome               // what is to be told of a change if this daemon ends now
	interrupted              state                  // of the last daemon: what it was doing when it ended
	stored                   map[string]string      // what Store keeps: Descriptor.ID by name
	notify                   notifier               // nil without Options.Notify
	mute                     func() <-chan struct{} // ends the reading of notify; nil = nobody reads
	unclaimed                []worker.Message       // said by nobody that is known, while a worker is being started
	unsaved                  int                    // saves that have failed in a row
	unstored                 int                    // comparisons with the store that have failed in a row
	storeTimer               *time.Timer            // of the next one
	saveAt                   time.Time              // when a failed save is tried again
	waiters                  []*waiter
	stopping                 bool
	leaving                  bool
	episode                  episode // the trouble that the app is in
	// another daemon is in charge: what this one does not know any more it must not write
	handedOver bool
	// why the newest start of a release by the daemon itself has failed; "" = it has not
	startFailure      string
	startTries        int                // how many have in a row
	startTimer        *time.Timer        // of the next one
	troubles          map[string]Trouble // reported and not over, by what they are of
	watched           string             // path of the release whose loss is watched for; "" = of none
	unwatch           context.CancelFunc // ends that
	pulses            map[string]*pulse  // by instance.lane, of the live generation (see liveness.go)
	replacing         map[string]*replacements
	straying, strayed bool   // strays are looked for, and are to be once more (see stray.go)
	dirty             bool   // the state file is behind
	hooks             bool   // the drain hook is there for workers that start
	said              string // newest text given to Say
}

// system is the edge to the operating system, for tests in virtual time.
type system struct {
	start  func(worker.Spec) (process, error)
	output func(path string, user *worker.Credential) (output, error)
	run    func(ctx context.Context, c worker.Command, line func(string)) error
	adopt  func(ws workerState, pidfd int) (process, error)
	inode  func(fd int) (uint64, error)              // of a socket
	end    func(workerState) error                   // of an earlier daemon, and all that it left
	find   func(mark string) ([]worker.Found, error) // the workers that run
	sweep  func(mark string, kept func(tag string) bool) error
	strays func(running []worker.Running) error   // of no worker that runs
	keep   func(dir, mark string) (keeper, error) // nil for no keeper
	// measure returns what each worker uses, in the order given.
	measure func([]process) []worker.Usage
	close   func(fd int)
	write   func(path string, data []byte) error // replaces a file, complete or not at all
	sync    func(dir string) error               // makes what was renamed in a directory durable
	chance  func() float64                       // in [0, 1)
	// enter is called by a goroutine before it hands something to the owner. Tests in virtual time
	// give what would come at the same instant an order; who tells apart what comes from the same
	// place in the code; nil = as it comes.
	enter func(who string)
}

// process is a running worker; *worker.Worker is the real one.
type process interface {
	PID() int
	StartTime() uint64
	Tag() string
	Cgroup() string
	Done() <-chan struct{}
	Exit() worker.Exit
	Signal(sig syscall.Signal) error
	Handles(sig syscall.Signal) (bool, error)
	KillAll() error
	PIDs() []int
	Family() []int
	Socket(inode uint64) (fd int, err error)
	Descriptor(f func(fd int) error) error
}

// output is what a worker writes; *worker.Output is the real one.
type output interface {
	Run(ctx context.Context, line func(worker.Line)) error
	Drain() error
	Descriptor(f func(fd int) error) error
	Close() error
}

// notifier is the socket on which workers speak; *worker.Notify is the real one.
type notifier interface {
	Run(ctx context.Context, handle func(worker.Message)) error
	Descriptor(f func(fd int) error) error
	Reachable() bool
	Abandon(handle func(worker.Message)) error
	Close() error
}

// ErrStopping refuses a change because the daemon is about to end.
var ErrStopping = errors.New("the daemon is stopping")

// New prepares a supervisor; nothing is started before Run.
func New(opt Options) *Supervisor {
	s := &Supervisor{
		opt:         opt,
		os:          realSystem(opt.Cgroups),
		log:         opt.Log,
		book:        newLogbook(opt.Sink),
		inbox:       make(chan func()),
		heard:       newUnheard(),
		done:        make(chan struct{}),
		started:     make(chan struct{}),
		adopted:     make(chan struct{}),
		gates:       make(map[string]Gate, len(opt.Gates)),
		former:      make(map[string]Gate),
		generations: make(map[int]*generation),
		stored:      make(map[string]string),
		scale:       make(map[string]int),
		paused:      make(map[string]bool),
		aimed:       make(map[string][]int),
		cares:       make(map[string]*listenerCare),
		troubles:    make(map[string]Trouble),
		pulses:      make(map[string]*pulse),
		replacing:   make(map[string]*replacements),
		next:        1,
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	for _, name := range opt.Stored {
		s.stored[name] = identityOf(name, opt.Extra)
	}
	for _, g := range opt.Gates {
		s.gates[g.Name()] = g
	}
	return s
}

// Run recovers what an earlier daemon left, starts the release that was live, and then owns
// everything until ctx ends; then it drains all workers and returns. Its error is a set-up failure:
// nothing was started.
func (s *Supervisor) Run(ctx context.Context) error {
	defer close(s.done)
	s.since = time.Now()
	defer s.book.close()
	if err := s.recover(); err != nil {
		return err
	}
	keeper := s.startKeeper()
	if err := s.listenNotify(); err != nil {
		return errors.Join(err, keeper.Release())
	}
	if s.opt.End {
		s.stop()
	} else {
		s.startLive(ctx)
	}
	s.dirty = true
	s.turn()
	close(s.adopted)
	s.checkListeners()
	unwatch := s.watchListeners()
	defer unwatch()
	if s.opt.Beat != nil {
		ticker := time.NewTicker(s.opt.BeatEvery)
		defer ticker.Stop()
		s.beat = ticker.C
		s.opt.Beat()
	}

	stop := ctx.Done()
	for !s.over() {
		select {
		case f := <-s.inbox:
			f()
			s.runWaiting()
		case <-s.heard.news:
			s.listen()
		case <-s.beat:
			s.opt.Beat()
			continue
		case <-stop:
			stop = nil
			s.stop()
		}
		s.turn()
	}
	if s.leaving {
		for _, in := range s.reading() {
			in.pause() // what has been read is handed on, and the rest is the next daemon's
		}
		s.pauseNotify()
		if s.handedOver {
			return keeper.Release()
		}
		return errors.Join(s.save(), keeper.Release())
	}
	s.closeNotify()
	unwatch()
	err := s.save()
	s.drainAside()
	s.removeHook()
	s.removeMemory()
	return errors.Join(err, keeper.End())
}

// over tells whether there is nothing left to own.
func (s *Supervisor) over() bool {
	return s.leaving || s.stopping && len(s.generations) == 0 && s.change == nil
}

// Adopted is closed when this daemon is in charge of all that an earlier one has left: when that
// one may go.
func (s *Supervisor) Adopted() <-chan struct{} { return s.adopted }

// Started is closed when the start of the daemon is decided: the live generation is proved, or was
// adopted and is at most on probation still, or it has failed to start and is tried again, or there
// is none.
func (s *Supervisor) Started() <-chan struct{} { return s.started }

// Hurry ends every worker at once, while the supervisor stops: a second SIGTERM.
func (s *Supervisor) Hurry() {
	_ = s.do(func() {
		for _, g := range ordered(s.generations) {
			for _, in := range g.instances {
				in.wanted = false
				s.fire(in, killAsked)
			}
		}
	})
}

// turn is the end of every turn of the owner: conditions are looked at again, so that a lost event
// delays but never wedges, and what has changed is made durable and told.
func (s *Supervisor) turn() {
	if s.handedOver {
		return
	}
	for _, g := range ordered(s.generations) {
		s.compare(g)
	}
	s.aim()
	s.replaceLost()
	s.feelPulses()
	s.tellAll()
	s.wake()
	s.watchLive()
	s.followHealth()
	if s.dirty && !time.Now().Before(s.saveAt) {
		behind := s.unsaved > 0
		s.store()
		// a failure says so itself; the next step of a change refuses to go on
		if err := s.save(); err == nil && behind {
			s.wake() // a change may wait for it, and no other event need come
		}
	}
	s.say()
}

// stop begins the end: no new change, and everything drains.
func (s *Supervisor) stop() {
	s.stopping = true
	if s.change != nil {
		s.change.kill(ErrStopping)
	}
	for _, g := range ordered(s.generations) {
		s.endCanary(g)
	}
	for _, g := range ordered(s.generations) {
		if g.tried && g.state == Staged {
			continue // it is being withdrawn, or will be by the change that has just been told to end
		}
		s.retire(g)
	}
	s.hurryLingering()
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

// drainAside waits for the goroutines that the owner started, while it still takes what they post.
func (s *Supervisor) drainAside() {
	quiet := make(chan struct{})
	go func() { s.aside.Wait(); close(quiet) }()
	for {
		select {
		case f := <-s.inbox:
			f()
		case <-quiet:
			return
		}
	}
}

// beside runs f in a goroutine that Run waits for.
func (s *Supervisor) beside(f func()) {
	s.aside.Go(f)
}

// post hands f to the owner and does not wait for it.
func (s *Supervisor) post(f func()) {
	s.enter("")
	select {
	case s.inbox <- f:
	case <-s.done:
	}
}

// do has the owner run f and waits until it has.
func (s *Supervisor) do(f func()) error {
	s.enter("")
	ran := make(chan struct{})
	select {
	case s.inbox <- func() { f(); close(ran) }:
		<-ran
		return nil
	case <-s.done:
		return ErrStopping
	}
}

func (s *Supervisor) enter(who string) {
	if s.os.enter != nil {
		s.os.enter(who)
	}
}

// waiter is somebody who waits for a condition that the owner looks at after every turn.
type waiter struct {
	cond func() (bool, error) // run by the owner
	hit  chan error           // of capacity 1
}

func (s *Supervisor) wake() {
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		if ok, err := w.cond(); ok || err != nil {
			w.hit <- err
			continue
		}
		kept = append(kept, w)
	}
	clear(s.waiters[len(kept):])
	s.waiters = kept
}

// await waits until cond, which the owner runs, is true or an error, or until ctx ends; then its
// cause is the error. It is also when ctx is over from the beginning, whatever cond says.
func (s *Supervisor) await(ctx context.Context, cond func() (bool, error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w := &waiter{cond: cond, hit: make(chan error, 1)}
	if err := s.do(func() { s.waiters = append(s.waiters, w) }); err != nil {
		return err
	}
	select {
	case err := <-w.hit:
		return err
	case <-ctx.Done():
		_ = s.do(func() {
			for i, other := range s.waiters {
				if other == w {
					s.waiters = append(s.waiters[:i], s.waiters[i+1:]...)
					break
				}
			}
		})
		return context.Cause(ctx)
	case <-s.done:
		return ErrStopping
	}
}

func (s *Supervisor) say() {
	if s.opt.Say == nil {
		return
	}
	if text := s.sentence(); text != s.said {
		s.said = text
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
	health, reason := s.health()
	if s.live == nil {
		if s.startFailure == "" {
			reason += "; superctl switch RELEASE starts one"
		}
		return reason
	}
	text := fmt.Sprintf("%s (generation %d)", s.live.plan.Release.Name, s.live.id)
	switch health {
	case HealthDown:
		return text + " does not serve: " + reason
	case HealthDegraded:
		return text + " is live, degraded: " + reason
	}
	return text + " is live"
}
