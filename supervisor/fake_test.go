package supervisor

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
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
	measured int                                       // how often the machine was looked at
	holder   string                                    // who has the port of every gate; "" = nobody
	refused  int                                       // how often a gate could not be opened for that
	records  []Outcome
	pointed  string
	plan     func(Plan) Plan                 // last touch on every plan
	options  func(*Options)                  // last touch on the options of every supervisor
	outputs  []*fakeOutput                   // all that a daemon has opened
	found    func(worker.Found) worker.Found // last touch on what is said of a running worker
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
	answer      func(nth int) int // the status; 0 = no answer
	ignoreStop  bool
	stopTakes   time.Duration
	handles     syscall.Signal // that does not end it
	leaves      time.Duration  // so long it takes to end what a worker that died has left
	startErr    error
	startHangs  chan struct{} // the start takes until it is closed; nil = no time
	cgroup      string        // directory of its control group
	only        string        // the process that this is true of; "" = all
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

func (w *world) start(spec worker.Spec) (process, error) {
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
func (p *fakeProc) Exit() worker.Exit     { return p.exit }
func (p *fakeProc) PIDs() []int           { return []int{p.pid} }
func (p *fakeProc) Socket(inode uint64) (int, error) {
	for _, f := range p.spec.Files {
		if inode == uint64(1000+f.FD) {
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
	p.w.mu.Unlock()
	if p.w.stopping != nil {
		p.w.stopping(p)
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

// fakeGate counts what a real gate would do, and lets health checks reach the workers of a
// generation. What is asked of a generation that it does not have fails the test.
type fakeGate struct {
	w       *world
	mu      *sync.Mutex // also of the gates of the next daemons, which share its sockets
	name    string
	address string
	kind    string
	ever    map[int]bool // generations that this daemon has, or has had
	kernel  map[int]bool // generations whose listeners are there, whether this daemon has them or not
	staged  map[int]bool
	live    int
	reached int // generation that new connections reach: it outlives a daemon
	spread  []int
	turns   []int
	parts   []part                // every share that was asked for
	settles func(gen int) Settled // nil = nothing is queued
	private []*fakeGate
	closed  func(gen int)

	connections func(gen int) int // of each worker; nil = 2

	touched  chan struct{}
	damage   Mended
	others   []string
	located  bool
	stolen   bool  // others get its connections
	verified []int // in this order
}

func (w *world) newGate(name string) *fakeGate {
	g := &fakeGate{
		mu: new(sync.Mutex), w: w, name: name, touched: make(chan struct{}), staged: map[int]bool{},
		kernel: map[int]bool{}, ever: map[int]bool{},
	}
	w.gates = append(w.gates, g)
	return g
}

// next is the gate as the next daemon finds it: it has not adopted anything yet.
func (g *fakeGate) next() *fakeGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	return &fakeGate{
		mu: g.mu, w: g.w, name: g.name, touched: make(chan struct{}), address: g.address, kind: g.kind,
		kernel: g.kernel, staged: map[int]bool{}, ever: map[int]bool{}, turns: g.turns, parts: g.parts,
		settles: g.settles, connections: g.connections, closed: g.closed, reached: g.reached,
	}
}

// fdOf is the descriptor of a generation's listener.
func (g *fakeGate) fdOf(gen int) int {
	sum := 0
	for _, c := range []byte(g.name + g.Address()) {
		sum = (sum*31 + int(c)) % 1009
	}
	return (sum+2)<<42 + gen
}

// sockets is all listeners that there are.
func (g *fakeGate) sockets() (list []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for gen := range g.kernel {
		list = append(list, Member{Gen: gen, FD: g.fdOf(gen)})
	}
	return list
}

// has fails the test unless this daemon has the generation's listener.
func (g *fakeGate) has(what string, gen int) error {
	if g.isStaged(gen) {
		return nil
	}
	g.w.t.Helper()
	return g.w.wrong("%s: generation %d has no listener %q", what, gen, g.name)
}

// had is has for what runs beside the owner, which may have closed the listener meanwhile.
func (g *fakeGate) had(what string, gen int) error {
	g.mu.Lock()
	closed := g.ever[gen] && !g.staged[gen]
	g.mu.Unlock()
	if closed {
		return fmt.Errorf("generation %d has no listener any more", gen)
	}
	return g.has(what, gen)
}

func (g *fakeGate) isStaged(gen int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.staged[gen]
}

func (g *fakeGate) isLive(gen int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.live == gen || slices.Contains(g.spread, gen)
}

func (g *fakeGate) privates() []*fakeGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.private)
}

func (g *fakeGate) Name() string    { return g.name }
func (g *fakeGate) Address() string { return cmp.Or(g.address, "127.0.0.1:8000") }
func (g *fakeGate) Kind() string    { return cmp.Or(g.kind, "steer") }

func (g *fakeGate) Stage(gen int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	// an instance may come back to its place
	if again := g.staged[gen] || g.ever[gen] && gen>>laneBits == 0; gen <= 0 || again {
		return g.w.wrong("generation %d is staged again", gen)
	}
	var holder string
	g.w.set(func() {
		if holder = g.w.holder; holder != "" {
			g.w.refused++
		}
	})
	if holder != "" {
		return fmt.Errorf("%s is in use by %s", g.Address(), holder)
	}
	g.staged[gen], g.kernel[gen], g.ever[gen] = true, true, true
	return nil
}
func (g *fakeGate) FD(gen int) (int, error)         { return g.fdOf(gen), g.has("FD", gen) }
func (g *fakeGate) Relisten(gen int) error          { return g.has("Relisten", gen) }
func (g *fakeGate) Queue(gen int) (int, int, error) { return 0, 2048, g.had("Queue", gen) }
func (g *fakeGate) Live() int                       { g.mu.Lock(); defer g.mu.Unlock(); return g.live }

func (g *fakeGate) Connections(gen int, pids []int) (int, error) {
	if err := g.had("Connections", gen); err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if !g.w.accepts(pid, g.fdOf(gen)) {
			return 0, g.w.wrong("connections of worker %d are counted at generation %d", pid, gen)
		}
	}
	if g.connections == nil {
		return 2, nil
	}
	return g.connections(gen), nil
}

// accepts reports whether there has been a worker that was given a listener.
func (w *world) accepts(pid, fd int) bool {
	return slices.ContainsFunc(w.processes(), func(p *fakeProc) bool {
		return p.pid == pid && slices.ContainsFunc(p.spec.Files, func(f worker.File) bool { return f.FD == fd })
	})
}

func (g *fakeGate) Cutover(gen int) error {
	if err := g.has("Cutover", gen); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live, g.reached, g.spread = gen, gen, []int{gen}
	g.turns = append(g.turns, gen)
	return nil
}

func (g *fakeGate) Spread(gens []int) error {
	if len(gens) == 0 || len(gens) > 1 && g.Kind() != "steer" ||
		len(slices.Compact(slices.Sorted(slices.Values(gens)))) < len(gens) {
		return g.w.wrong("Spread: over generations %v on a gate of the kind %s", gens, g.Kind())
	}
	for _, gen := range gens {
		if err := g.has("Spread", gen); err != nil {
			return err
		}
	}
	if err := g.Cutover(gens[0]); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spread = slices.Clone(gens)
	return nil
}

// part is what a generation was given of the connections.
type part struct {
	gen, share int
	networks   string
	at         time.Time
}

func (g *fakeGate) Canary(gen, share int, networks []netip.Prefix) error {
	if err := g.has("Canary", gen); err != nil {
		return err
	}
	if share < 0 || share > 10_000 || g.isLive(gen) || g.Kind() != "steer" {
		return g.w.wrong("Canary: %d in 10,000 to generation %d", share, gen)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parts = append(g.parts, part{gen, share, fmt.Sprint(networks), time.Now()})
	return nil
}

func (g *fakeGate) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []Member
	for _, gen := range slices.Sorted(maps.Keys(g.staged)) {
		list = append(list, Member{Gen: gen, FD: g.fdOf(gen)})
	}
	return list
}

func (g *fakeGate) Adopt(gen, fd int) error {
	if fd != g.fdOf(gen) || g.begun() {
		return g.w.wrong("descriptor %d is adopted as the listener %q of generation %d", fd, g.name, gen)
	}
	return g.Stage(gen)
}

// begun reports whether connections were directed already: what an earlier daemon has left is
// adopted before.
func (g *fakeGate) begun() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.located || g.live != 0
}

func (g *fakeGate) Locate(sent []int) error {
	if g.begun() || len(slices.Compact(slices.Sorted(slices.Values(sent)))) < len(sent) ||
		slices.ContainsFunc(sent, func(at int) bool { return at < 0 || at >= mostPlaces }) {
		return g.w.wrong("Locate: connections were sent to the places %v", sent)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.located = true
	return nil
}

// mostPlaces is more listeners than a gate has in any test.
const mostPlaces = 64

func (g *fakeGate) Settle(_ context.Context, gen int) (Settled, error) {
	if err := g.had("Settle", gen); err != nil {
		return Settled{}, err
	}
	if g.isLive(gen) {
		return Settled{}, g.w.wrong("Settle: generation %d is live", gen)
	}
	if g.settles == nil {
		return Settled{}, nil
	}
	return g.settles(gen), nil
}

func (g *fakeGate) Verify(_ context.Context, gen int) error {
	if err := g.had("Verify", gen); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stolen {
		return errors.New("another listener takes them")
	}
	g.verified = append(g.verified, gen)
	return nil
}

func (g *fakeGate) Watch(ctx context.Context, changed func()) error {
	changed()
	for {
		select {
		case <-g.touched:
			changed()
		case <-ctx.Done():
			return nil
		}
	}
}

func (g *fakeGate) Mend() Mended {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.damage
	g.damage.Said = nil
	if len(m.Lost) > 0 && !g.staged[m.Lost[0]] {
		return Mended{}
	}
	return m
}

func (g *fakeGate) Strangers() []string { return g.others }

// touch has others do something to the gate's listeners.
func (g *fakeGate) touch(m Mended) {
	g.mu.Lock()
	g.damage = m
	g.mu.Unlock()
	g.touched <- struct{}{}
}

func (g *fakeGate) Close(gen int) error {
	if err := g.has("Close", gen); err != nil {
		return err
	}
	if g.closed != nil {
		g.closed(gen)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.staged, gen)
	delete(g.kernel, gen)
	if g.live == gen {
		g.live, g.reached, g.spread = 0, 0, nil
	}
	return nil
}

func (g *fakeGate) Private() (Gate, error) {
	p := &fakeGate{
		mu: new(sync.Mutex), w: g.w, name: g.name, address: fmt.Sprint("private ", len(g.private)), kind: "private",
		staged: map[int]bool{}, kernel: map[int]bool{}, ever: map[int]bool{},
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.private = append(g.private, p)
	return p, nil
}

func (g *fakeGate) Dial(_ context.Context, gen int) (net.Conn, error) {
	if err := g.had("Dial", gen); err != nil {
		return nil, err
	}
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	for _, p := range slices.Backward(g.w.procs) {
		serves := slices.ContainsFunc(p.spec.Files, func(f worker.File) bool {
			return f.Name == g.name && f.FD == g.fdOf(gen)
		})
		if p.spec.Process == "web" && serves && p.alive() && time.Since(p.born) >= p.how.answerAfter {
			p.asked++
			status := 200
			if p.how.answer != nil {
				status = p.how.answer(p.asked)
			}
			if status == 0 {
				return silent(), nil
			}
			return answering(status), nil
		}
	}
	return nil, syscall.ECONNREFUSED
}

// silent is a connection to a server that never answers.
func silent() net.Conn {
	client, server := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, server) }()
	return client
}

// answering is a connection to a server that reads one request and gives one answer.
func answering(status int) net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		if _, err := http.ReadRequest(bufio.NewReader(server)); err != nil {
			return
		}
		fmt.Fprintf(
			server, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status, http.StatusText(status),
		)
	}()
	return client
}

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
