package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"superctl/supervisor/health"
	"superctl/supervisor/worker"
)

// world is an operating system, a gate and a directory of releases in virtual time.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	gate  *fakeGate
	gates []*fakeGate // all that a daemon has had
	pid   int

	releases map[string]behaviour
	each     func(release, process string, how behaviour) behaviour // last touch on how a worker acts
	stopping func(*fakeProc)                                        // is called at each stop signal
	procs    []*fakeProc
	running  map[string]int // process -> how many run now
	peak     map[string]int
	hooks    func(ctx context.Context, c worker.Command) error
	says     func(c worker.Command, line func(string)) // what a hook writes
	strayed  [][]worker.Running                        // the looks for strays: which workers were said to run
	memory   func(*fakeProc) uint64                    // what a worker uses; nil = 100 MiB
	measured int                                       // how often the machine was looked at
	holder   string                                    // who has the port of every gate; "" = nobody
	refused  int                                       // how often a gate could not be opened for that
	records  []Outcome
	pointed  string
	plan     func(Plan) Plan                 // last touch on every plan
	options  func(*Options)                  // last touch on the options of every supervisor
	outputs  []*fakeOutput                   // all that a daemon has opened
	found    func(worker.Found) worker.Found // last touch on what is said of a running worker
	piping   func()                          // is called while a pipe is made
	pipes    bool                            // outputs are real pipes: for tests in real time
	begins   func(worker.Spec) error         // is asked before each start
	system   func(*system)                   // last touch on the system of every supervisor
	disk     func(path string) bool          // whether a file is written, once it returns; nil = always
	complain func(string)                    // takes what a fake finds wrong, instead of the test
}

// set runs f, which reads or changes the world, while nobody else does.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// behaviour is how the workers of a release act.
type behaviour struct {
	exitAfter   time.Duration     // of every worker; 0 = never
	answerAfter time.Duration     // import time
	answer      func(nth int) int // the status; 0 = no answer; cut = the connection is closed
	ignoreStop  bool
	stopTakes   time.Duration
	handles     syscall.Signal // that does not end it
	leaves      time.Duration  // so long it takes to end what a worker that died has left
	startErr    error
	startHangs  chan struct{} // the start takes until it is closed; nil = no time
	cgroup      string        // directory of its control group
	only        string        // the process that this is true of; "" = all
	closed      bool          // its descriptors cannot be copied: it is about to end
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, pid: 100, releases: map[string]behaviour{}, running: map[string]int{}, peak: map[string]int{}}
	w.gate = w.newGate("web")
	return w
}

type fakeProc struct {
	w        *world
	pid      int
	spec     worker.Spec
	how      behaviour
	born     time.Time
	done     chan struct{}
	exit     worker.Exit
	once     sync.Once
	asked    int
	killed   bool
	stopped  bool
	got      []syscall.Signal // that it handles
	deadline *time.Timer
}

func (w *world) start(ctx context.Context, spec worker.Spec) (process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	how := w.releases[spec.Release]
	if how.only != "" && how.only != spec.Process {
		how = behaviour{}
	}
	if w.each != nil {
		how = w.each(spec.Release, spec.Process, how)
	}
	if how.startHangs != nil {
		w.mu.Unlock()
		<-how.startHangs
		w.mu.Lock()
		if err := context.Cause(ctx); err != nil {
			return nil, err // it was killed meanwhile
		}
	}
	if how.startErr != nil {
		return nil, how.startErr
	}
	w.pid++
	p := &fakeProc{w: w, pid: w.pid, spec: spec, how: how, born: time.Now(), done: make(chan struct{})}
	w.procs = append(w.procs, p)
	w.running[spec.Process]++
	w.peak[spec.Process] = max(w.peak[spec.Process], w.running[spec.Process])
	if how.exitAfter > 0 {
		p.deadline = time.AfterFunc(how.exitAfter, func() { p.die(worker.Exit{Known: true, Code: 3}) })
	}
	return p, nil
}

// measure says that every worker uses 1 MiB.
func (w *world) measure(list []process) []worker.Usage {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.measured++
	usage := make([]worker.Usage, len(list))
	for i, p := range list {
		usage[i] = worker.Usage{PIDs: []int{p.PID()}, Memory: 1 << 20}
	}
	return usage
}

// adopt finds a worker that an earlier supervisor started. Who asks must know it for what it is.
func (w *world) adopt(ws workerState, pidfd int) (process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		if p.pid != ws.PID {
			continue
		}
		if err := w.same(p, ws); err != nil {
			return nil, err
		}
		if pidfd != -1 && !w.fits(pidfd, p) {
			return nil, w.wrong("worker %d is adopted with the descriptor %d", p.pid, pidfd)
		}
		if p.alive() {
			return p, nil
		}
	}
	return nil, worker.ErrGone
}

// fits reports whether a pidfd is of a worker in the same place: the store may be ahead of the
// state file.
func (w *world) fits(pidfd int, p *fakeProc) bool {
	return slices.ContainsFunc(w.procs, func(o *fakeProc) bool {
		return o.pidfd() == pidfd && o.spec.Process == p.spec.Process && o.spec.Instance == p.spec.Instance &&
			o.spec.Generation == p.spec.Generation
	})
}

// descriptor is what an earlier daemon has handed over under that name.
func (w *world) descriptor(name string) (fd int, ok bool) {
	for _, g := range w.gates {
		for _, m := range g.sockets() {
			if name == listenerName(g.name, memberState{Gen: m.Gen}) {
				return m.FD, true
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		if p.alive() && name == workerName(p.spec.Generation, p.spec.Process, p.spec.Instance) {
			return p.pidfd(), true
		}
	}
	return -1, false
}

// handed is the names of all that descriptor has.
func (w *world) handed() (names []string) {
	for _, g := range w.gates {
		for _, m := range g.sockets() {
			names = append(names, listenerName(g.name, memberState{Gen: m.Gen}))
		}
	}
	return names
}

// sweep ends those that an earlier supervisor was just starting when it left, so that it could not
// write them down.
func (w *world) sweep(_ string, knows func(tag string) bool) error {
	w.mu.Lock()
	procs := slices.Clone(w.procs)
	w.mu.Unlock()
	for _, p := range procs {
		if p.alive() && !knows(p.Tag()) {
			_ = p.KillAll()
		}
	}
	return nil
}

// strays notes which workers were said to run.
func (w *world) strays(running []worker.Running) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strayed = append(w.strayed, running)
	return nil
}

func (p *fakeProc) die(e worker.Exit) {
	p.once.Do(func() {
		p.w.mu.Lock()
		p.w.running[p.spec.Process]--
		p.w.mu.Unlock()
		if p.deadline != nil {
			p.deadline.Stop()
		}
		p.exit = e
		close(p.done)
	})
}

func (p *fakeProc) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *fakeProc) PID() int              { return p.pid }
func (p *fakeProc) StartTime() uint64     { return uint64(p.pid) }
func (p *fakeProc) Tag() string           { return fmt.Sprintf("tag-%d", p.pid) }
func (p *fakeProc) Cgroup() string        { return p.how.cgroup }
func (p *fakeProc) Done() <-chan struct{} { return p.done }
func (p *fakeProc) AfterExit(f func())    { go func() { <-p.done; f() }() }
func (p *fakeProc) Exit() worker.Exit     { return p.exit }
func (p *fakeProc) PIDs() []int           { return []int{p.pid} }
func (p *fakeProc) Socket(inode uint64) (int, error) {
	for _, f := range p.spec.Files {
		if !p.how.closed && inode == uint64(1000+f.FD) {
			return f.FD, nil
		}
	}
	return -1, fmt.Errorf("worker %d has no socket %d", p.pid, inode)
}

// pidfd is the descriptor by which it is known.
func (p *fakeProc) pidfd() int    { return 1<<40 + p.pid }
func (p *fakeProc) Family() []int { return []int{p.pid, 10_000 + p.pid} }
func (p *fakeProc) KillAll() error {
	p.w.mu.Lock() // two supervisors may watch it, one after the other
	p.killed = p.killed || p.alive()
	p.w.mu.Unlock()
	if !p.alive() {
		time.Sleep(p.how.leaves)
	}
	p.die(worker.Exit{Known: true, Signal: syscall.SIGKILL})
	return nil
}

func (p *fakeProc) Handles(sig syscall.Signal) (bool, error) { return sig == p.how.handles, nil }

// stop does what a worker does at its stop signal.
func (p *fakeProc) stop() error {
	p.w.mu.Lock()
	p.stopped = true
	told := p.w.stopping
	p.w.mu.Unlock()
	if told != nil {
		told(p)
	}
	switch {
	case p.how.ignoreStop:
	case p.how.stopTakes > 0:
		time.AfterFunc(p.how.stopTakes, func() { p.die(worker.Exit{Known: true}) })
	default:
		p.die(worker.Exit{Known: true})
	}
	return nil
}

func (p *fakeProc) Descriptor(f func(int) error) error { return f(p.pidfd()) }

func (w *world) resolve(_ context.Context, t Target) (Plan, error) {
	name := t.Word
	switch t.Kind {
	case start:
		if t.Live == nil {
			return Plan{}, &NoReleaseError{"no release was live"}
		}
		name = t.Live.Name
	case Reload:
		name = t.Live.Name
	case Rollback:
		name = t.Previous.Name
	}
	var found bool
	w.set(func() { _, found = w.releases[name] })
	if !found {
		err := errors.New("no release matches " + name)
		if t.Kind == Switch {
			err = &NoSuchReleaseError{err}
		}
		return Plan{}, err
	}
	p := Plan{
		Release: Release{Name: name, Path: "/r/" + name},
		Processes: []Process{{
			Name: "web", Command: []string{"serve"}, Listen: []string{"web"}, Instances: 1, Strategy: Overlap,
			StopSignal: 15,
			Drain:      30 * time.Second, StartTimeout: 60 * time.Second, ReadyAfter: time.Second,
			Health: &health.Policy{
				Check:    health.Check{Protocol: "http", Path: "/", Status: []int{200}, Timeout: 5 * time.Second},
				Interval: 250 * time.Millisecond, HealthyAfter: 3, UnhealthyAfter: 10 * time.Second,
			},
		}},
		Probation: 10 * time.Second, Settle: 5 * time.Second,
	}
	if w.plan != nil {
		p = w.plan(p)
	}
	return p, nil
}

func background(name string, strategy Strategy) Process {
	return Process{
		Name: name, Command: []string{name}, Instances: 1, Strategy: strategy, StopSignal: 15,
		Drain: 30 * time.Second, StartTimeout: 60 * time.Second, ReadyAfter: time.Second,
	}
}

// onlyBackground is the plan of an app that only works in the background.
func onlyBackground(p Plan) Plan {
	p.Processes = []Process{background("worker", Overlap)}
	return p
}

// supervisor starts one in this world and waits until its start is decided; stop ends it and waits
// for it.
func (w *world) supervisor(state string) (s *Supervisor, stop func()) {
	w.t.Helper()
	s, stop = w.starting(state)
	<-s.Started()
	return s, stop
}

// starting is supervisor without the wait.
func (w *world) starting(state string) (s *Supervisor, stop func()) {
	w.t.Helper()
	for i, g := range w.gates {
		next := g.next()
		if w.gates[i] = next; w.gate == g {
			w.gate = next
		}
	}
	opt := Options{
		App: "shop", Version: "test", State: state, Gates: []Gate{w.gate}, Resolve: w.resolve,
		Inherited: w.descriptor, Handed: w.handed(),
		Point:  func(r Release) error { w.set(func() { w.pointed = r.Name }); return nil },
		Record: func(o Outcome) error { w.set(func() { w.records = append(w.records, o) }); return nil },
		Log:    zaptest.NewLogger(w.t, zaptest.Level(zapLevel)),
	}
	if w.options != nil {
		w.options(&opt)
	}
	s = New(opt)
	s.os = newFakeSystem(w, s).system()
	if w.system != nil {
		w.system(&s.os)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return s, func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		if s.Left() {
			return
		}
		for name, n := range w.running {
			if n != 0 {
				w.t.Errorf("%d workers of %s outlive the supervisor", n, name)
			}
		}
	}
}

// change asks for a change and returns its outcome; it must not be refused.
func change1(t *testing.T, s *Supervisor, req Request) *Outcome {
	t.Helper()
	req.Who = "the test"
	out, err := s.Change(context.Background(), req, func(Event) {})
	if err != nil {
		t.Fatalf("%s %s: %v", req.Kind, req.Release, err)
	}
	return out
}

func switchTo(t *testing.T, s *Supervisor, release string) *Outcome {
	t.Helper()
	return change1(t, s, Request{Kind: Switch, Release: release})
}

// want fails the test unless the outcome and the live release are these.
func want(t *testing.T, s *Supervisor, out *Outcome, result Result, live string) {
	t.Helper()
	if out.Result != result {
		t.Fatalf("outcome %s (%s), want %s", out.Result, out.Error, result)
	}
	if got := s.Status().Release; got != live {
		t.Fatalf("%q is live, want %q", got, live)
	}
}

// virtual runs a test in virtual time.
func virtual(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}
