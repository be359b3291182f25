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
	"time"

	"superctl/supervisor/worker"
)

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
	queues  func(gen int) int     // connections in its accept queue; nil = none
	private []*fakeGate
	closed  func(gen int)
	refuses func(gen, share int) error // of a share, or of all connections as 10,000; nil = nothing

	connections func(gen int) int // of each worker; nil = 2
	unanswered  func(gen int) int // of those; nil = all

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
		settles: g.settles, queues: g.queues, connections: g.connections, unanswered: g.unanswered, closed: g.closed, reached: g.reached,
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
func (g *fakeGate) FD(gen int) (int, error) { return g.fdOf(gen), g.has("FD", gen) }
func (g *fakeGate) Relisten(gen int) error  { return g.has("Relisten", gen) }
func (g *fakeGate) Queue(gen int) (length, limit int, err error) {
	if g.queues != nil {
		length = g.queues(gen)
	}
	return length, 2048, g.had("Queue", gen)
}

func (g *fakeGate) Live() int { g.mu.Lock(); defer g.mu.Unlock(); return g.live }

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

func (g *fakeGate) Unanswered(gen int, pids []int) (int, error) {
	n, err := g.Connections(gen, pids)
	if err == nil && g.unanswered != nil {
		n = g.unanswered(gen)
	}
	return n, err
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
	if err := g.refused(gen, 10_000); err != nil {
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

func (g *fakeGate) refused(gen, share int) error {
	if g.refuses == nil {
		return nil
	}
	return g.refuses(gen, share)
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
	if err := g.refused(gen, share); err != nil {
		return err
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
		if (p.spec.Process == "web" || p.spec.Process == pageProcess) && serves && p.alive() && time.Since(p.born) >= p.how.answerAfter {
			p.asked++
			status := 200
			if p.how.answer != nil {
				status = p.how.answer(p.asked)
			}
			switch status {
			case 0:
				return silent(), nil
			case cut:
				return closing(), nil
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

// cut stands for an answer that does not come, because the connection is closed.
const cut = -1

// closing is a connection to a server that ends when it has read a request.
func closing() net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		_, _ = http.ReadRequest(bufio.NewReader(server))
	}()
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
