package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/socket"
	"superctl/supervisor"
)

// The simulator is worth as much as its model of the kernel. This test has the model and the real
// gates of package socket, on loopback, do the same: whatever a connection, a queue or a listener
// does there it must do here. Where the kernel chooses, its choice must be one that the model could
// have made, and the model follows.

// patience is how long the kernel may take for what it does right after a call.
const patience = 20 * time.Second

// gate is what a supervisor.Gate and a socket.Gate have in common.
type gate interface {
	Stage(gen int) error
	Spread(gens []int) error
	Canary(gen, share int, networks []netip.Prefix) error
	Close(gen int) error
	Queue(gen int) (length, limit int, err error)
	Live() int
}

// pair is one address, in the model and in the kernel.
type pair struct {
	t       *testing.T
	model   *supervisor.Model
	options socket.Options
	real    *socket.Gate
	said    []string
	staged  []int
	sent    []int // the generations that new connections are sent to
	canary  int
	workers []*pairWorker
	clients []net.Conn // nil = it was refused
	last    int        // the newest generation
}

// pairWorker has a listener, in the model and in the kernel.
type pairWorker struct {
	p       *pair
	gen     int
	model   *supervisor.ModelWorker
	fd      int
	accepts bool
	served  map[int]bool // the connections that the real one has accepted
	open    []int
}

func TestTheModelDoesAsTheKernelDoes(t *testing.T) {
	for _, kind := range []string{"steer", "rename", "shared"} {
		for seed := range uint64(12) {
			t.Run(fmt.Sprint(kind, "/", seed), func(t *testing.T) {
				t.Parallel()
				play(newPair(t, kind), rand.New(rand.NewPCG(seed, 7))) //nolint:gosec // the same for the same seed
			})
		}
	}
}

func newPair(t *testing.T, kind string) *pair {
	t.Helper()
	text := "unix:" + filepath.Join(socketDir(t), "s")
	if kind != "rename" {
		text = "127.0.0.1:" + strconv.Itoa(reservedPort(t))
	}
	at, err := socket.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{
		t: t, model: supervisor.NewModel(t, kind), options: socket.Options{Name: "web", Address: at, Gate: kind},
	}
	p.real = p.newGate()
	t.Cleanup(p.close)
	return p
}

// socketDir is short enough for a path of a unix socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// reservedPort is a port that no other program gets: a socket that does not listen is bound to it.
func reservedPort(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return name.(*unix.SockaddrInet4).Port //nolint:forcetypeassert // of AF_INET
}

func (p *pair) newGate() *socket.Gate {
	g, err := socket.New(p.options)
	if err != nil {
		p.t.Fatal(err)
	}
	return g
}

// play does some dozens of things.
func play(p *pair, r *rand.Rand) {
	p.stage()
	p.turn(p.last)
	for range 60 {
		n := r.IntN(100)
		switch {
		case n < 40:
			p.connect()
		case n < 50:
			p.stage()
		case n < 60:
			p.turn(p.staged[r.IntN(len(p.staged))])
		case n < 70 && len(p.staged) > 0:
			p.start(p.staged[r.IntN(len(p.staged))])
		case n < 82 && len(p.workers) > 0:
			w := p.workers[r.IntN(len(p.workers))]
			p.accept(w, !w.accepts)
		case n < 86 && len(p.workers) > 0:
			p.end(p.workers[r.IntN(len(p.workers))])
		case n < 92 && len(p.staged) > 1:
			p.closeGeneration(p.staged[r.IntN(len(p.staged))])
		case n < 94:
			p.settle(p.staged[r.IntN(len(p.staged))])
		case n < 97 && p.options.Gate == "steer":
			p.some(r)
		default:
			p.restart()
		}
		p.compare()
		if p.t.Failed() {
			return
		}
	}
}

func (p *pair) do(what string, f func(g gate) error) {
	p.t.Helper()
	p.said = append(p.said, what)
	if err := f(p.model.Gate()); err != nil {
		p.fail("the model: %v", err)
	}
	if err := f(p.real); err != nil && !strings.Contains(err.Error(), "still queued") {
		p.fail("the kernel: %v", err)
	}
}

func (p *pair) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s\n"+format, append([]any{strings.Join(p.said, "\n")}, args...)...)
}

func (p *pair) stage() {
	p.last++
	p.do(fmt.Sprint("stage ", p.last), func(g gate) error { return g.Stage(p.last) })
	p.staged = append(p.staged, p.last)
}

func (p *pair) turn(gens ...int) {
	p.do(fmt.Sprint("turn to ", gens), func(g gate) error { return g.Spread(gens) })
	p.sent = gens
	if slices.Contains(gens, p.canary) {
		p.canary = 0
	}
}

// some sends the connections to two generations, or all of them to a canary, or ends that.
func (p *pair) some(r *rand.Rand) {
	others := slices.DeleteFunc(slices.Clone(p.staged), func(gen int) bool { return slices.Contains(p.sent, gen) })
	switch {
	case p.canary != 0:
		p.do(fmt.Sprint("end canary ", p.canary), func(g gate) error { return g.Canary(p.canary, 0, nil) })
		p.canary = 0
	case len(p.sent) == 0 || len(others) == 0:
	case r.IntN(2) == 0:
		p.turn(p.sent[0], others[0])
	default:
		p.canary = others[0]
		p.do(fmt.Sprint("canary ", p.canary), func(g gate) error { return g.Canary(p.canary, 10_000, nil) })
	}
}

func (p *pair) start(gen int) {
	p.said = append(p.said, fmt.Sprintf("start worker %d of %d", len(p.workers), gen))
	fd, err := p.real.FD(gen)
	if err != nil {
		p.fail("%v", err)
	}
	if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		p.fail("%v", err)
	}
	p.workers = append(p.workers, &pairWorker{
		p: p, gen: gen, model: p.model.Worker(gen), fd: fd, served: make(map[int]bool),
	})
}

func (p *pair) accept(w *pairWorker, now bool) {
	p.said = append(p.said, fmt.Sprintf("a worker of %d accepts: %t", w.gen, now))
	w.accepts = now
	w.model.Accept(now)
}

func (p *pair) end(w *pairWorker) {
	p.said = append(p.said, fmt.Sprintf("end a worker of %d", w.gen))
	w.model.End()
	w.close()
	p.workers = slices.DeleteFunc(p.workers, func(o *pairWorker) bool { return o == w })
}

func (w *pairWorker) close() {
	_ = unix.Close(w.fd)
	for _, fd := range w.open {
		_ = unix.Close(fd)
	}
}

func (p *pair) closeGeneration(gen int) {
	p.do(fmt.Sprint("close ", gen), func(g gate) error { return g.Close(gen) })
	p.staged = slices.DeleteFunc(p.staged, func(other int) bool { return other == gen })
	p.sent = slices.DeleteFunc(slices.Clone(p.sent), func(other int) bool { return other == gen })
	if p.canary == gen {
		p.canary = 0
	}
}

// settle finds the queue of a generation as it is.
func (p *pair) settle(gen int) {
	if p.options.Gate == "shared" || slices.Contains(p.sent, gen) || p.canary == gen || len(p.sent) == 0 {
		return
	}
	p.said = append(p.said, fmt.Sprint("settle ", gen))
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Millisecond)
	defer cancel()
	want, err := p.model.Gate().Settle(ctx, gen)
	if err != nil {
		p.fail("the model: %v", err)
	}
	limit := 20 * time.Millisecond
	if want.Left == 0 {
		limit = patience
	}
	ctx, cancel = context.WithTimeout(p.t.Context(), limit)
	defer cancel()
	have, err := p.real.Settle(ctx, gen)
	if err != nil || have.Left != want.Left {
		p.fail("%d connections are left for %d (%v), in the model %d", have.Left, gen, err, want.Left)
	}
}

// restart is the next daemon, which adopts what this one has.
func (p *pair) restart() {
	p.said = append(p.said, "restart")
	if err := p.model.Restart(); err != nil {
		p.fail("the model: %v", err)
	}
	before := p.real.Members()
	p.real = p.newGate()
	var live []int
	for i, member := range before {
		fd, err := unix.FcntlInt(uintptr(member.FD), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			p.fail("%v", err)
		}
		if err := p.real.Adopt(member.Gen, fd); err != nil {
			p.fail("the kernel: %v", err)
		}
		if slices.Contains(p.sent, member.Gen) && member.Gen != 0 {
			live = append(live, i)
		}
	}
	if err := p.real.Locate(live); err != nil {
		p.fail("the kernel: %v", err)
	}
	for _, member := range before {
		if p.options.Gate != "shared" {
			_ = unix.Close(member.FD)
		}
	}
	if p.options.Gate == "shared" && len(before) > 0 {
		_ = unix.Close(before[0].FD)
	}
	if len(p.sent) > 0 {
		p.canary = 0
		p.turn(p.sent...) // as a daemon does that has adopted
	}
}

// connect has a client connect, and the model follow the kernel.
func (p *pair) connect() {
	network, address := "tcp", p.options.Address.String()
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	before := p.lengths()
	id := len(p.clients)
	conn, err := net.DialTimeout(network, address, patience)
	routes := p.model.Routes()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT):
		p.said = append(p.said, fmt.Sprintf("connection %d is refused", id))
		if len(routes) > 0 {
			p.fail("in the model it reaches one of %v", routes)
		}
		p.clients = append(p.clients, nil)
		p.model.Connect(-1)
		return
	case err != nil:
		p.fail("%v", err)
	}
	if _, err := conn.Write([]byte{byte(id)}); err != nil {
		p.fail("%v", err)
	}
	p.clients = append(p.clients, conn)
	gen := p.reached(before)
	p.said = append(p.said, fmt.Sprintf("connection %d reaches %d", id, gen))
	if !slices.Contains(routes, gen) {
		p.fail("in the model it reaches one of %v", routes)
	}
	p.model.Connect(gen)
}
