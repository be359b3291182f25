package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// address parses an address, and fails the test on error.
func address(t testing.TB, text string) Address {
	t.Helper()
	a, err := ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// freePort returns a TCP address with a port that is free on every address of the machine, because
// other tests run at the same time. The port stays reserved for the test: a socket is bound to it
// on all addresses, which does not disturb listeners.
func freePort(t testing.TB, host string) Address {
	t.Helper()
	if host != "" {
		fd, err := tcpSocketAt(netip.AddrPortFrom(netip.MustParseAddr(host), 0))
		if err != nil {
			t.Skipf("this machine cannot bind %s: %v", host, err)
		}
		_ = unix.Close(fd)
	}
	fd, err := tcpSocketAt(netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
	if err != nil {
		fd, err = tcpSocketAt(netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	at, err := boundTo(fd)
	if err != nil {
		t.Fatal(err)
	}
	return address(t, net.JoinHostPort(host, strconv.Itoa(int(at.Port()))))
}

// newGate returns a gate that is closed at the end of the test.
func newGate(t testing.TB, o Options) *Gate {
	t.Helper()
	if o.Name == "" {
		o.Name = "web"
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range g.Members() {
			if m.Gen != 0 {
				_ = g.Close(m.Gen)
			}
		}
		if left := g.Members(); len(left) > 0 {
			t.Errorf("left after all generations are closed: %v", left)
		}
	})
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("error %v, want %q", err, want)
	}
}

// worker accepts on a copy of a generation's descriptor, as a worker that inherited it does. It
// answers every connection with the generation's number and closes it.
type worker struct {
	file *os.File
	done chan struct{}
}

func startWorker(t testing.TB, g *Gate, gen int) *worker {
	t.Helper()
	fd, err := g.FD(gen)
	must(t, err)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	w := &worker{file: os.NewFile(uintptr(dup), "listener"), done: make(chan struct{})}
	go w.run(gen)
	t.Cleanup(w.stop)
	return w
}

func (w *worker) run(gen int) {
	defer close(w.done)
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		conn := -1
		err := raw.Read(func(fd uintptr) bool {
			conn, _, err = unix.Accept4(int(fd), unix.SOCK_CLOEXEC)
			return !errors.Is(err, unix.EAGAIN)
		})
		if err != nil || conn < 0 {
			return
		}
		_, _ = unix.Write(conn, fmt.Appendf(nil, "%d", gen))
		_ = unix.Close(conn)
	}
}

func (w *worker) stop() {
	_ = w.file.Close()
	<-w.done
}

// answered returns the generation that answers a connection.
func answered(conn net.Conn, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // no TIME_WAIT: a test makes more connections than there are ports
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // turns a hang into a test failure
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}

// visit connects as a client does.
func visit(g *Gate) (int, error) {
	return answered(dialGate(g))
}

func dialGate(g *Gate) (net.Conn, error) {
	network, addr := clientTarget(g)
	return net.Dial(network, addr)
}

// dialed returns the generation that answers at a TCP address.
func dialed(target string) (int, error) {
	conn, err := net.Dial("tcp", target)
	return answered(conn, err)
}

// clientTarget returns what a client dials.
func clientTarget(g *Gate) (network, addr string) {
	a := g.options.Address
	if path, ok := strings.CutPrefix(g.Address(), "unix:"); ok {
		return "unix", path
	}
	if a.network == tcp {
		return "tcp", dialTargets(a.tcp)[0].String()
	}
	return "tcp", g.Address()
}

func wantVisit(t testing.TB, g *Gate, want int) {
	t.Helper()
	if got, err := visit(g); err != nil || got != want {
		t.Fatalf("a client reaches generation %d, %v; want %d", got, err, want)
	}
}

func wantProbe(t testing.TB, g *Gate, gen int) {
	t.Helper()
	if got, err := answered(g.Dial(t.Context(), gen)); err != nil || got != gen {
		t.Fatalf("a probe of generation %d reaches %d, %v", gen, got, err)
	}
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// switchOver does what the supervisor does with a gate from the boot of a generation on.
func switchOver(t testing.TB, g *Gate, from, to int) {
	t.Helper()
	must(t, g.Stage(to))
	startWorker(t, g, to)
	wantProbe(t, g, to)
	must(t, g.Cutover(to))
	if from == 0 {
		return
	}
	if s, err := g.Settle(soon(t), from); err != nil || s.Left != 0 {
		t.Fatalf("settle: %+v, %v", s, err)
	}
	must(t, g.Close(from))
}

var tcpHosts = []string{"127.0.0.1", "0.0.0.0", "::1", "::", ""}

// gates runs a test on each kind of gate and address.
func gates(t *testing.T, test func(t *testing.T, g *Gate)) {
	for _, host := range tcpHosts {
		t.Run("steer/"+host, func(t *testing.T) {
			test(t, newGate(t, Options{Address: freePort(t, host)}))
		})
	}
	t.Run("rename", func(t *testing.T) {
		test(t, newGate(t, Options{Address: address(t, "unix:"+t.TempDir()+"/s")}))
	})
}

func TestAStagedGenerationGetsOnlyItsProbes(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		switchOver(t, g, 0, 1)
		must(t, g.Stage(2))
		startWorker(t, g, 2)
		for range 50 {
			wantVisit(t, g, 1)
			wantProbe(t, g, 2)
			wantProbe(t, g, 1)
		}
	})
}

func TestTheCutoverTurnsEveryNewConnection(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		switchOver(t, g, 0, 1)
		must(t, g.Stage(2))
		startWorker(t, g, 2)
		for _, gen := range []int{2, 1, 2, 2, 1} {
			must(t, g.Cutover(gen))
			if g.Live() != gen {
				t.Fatalf("Live() = %d after the cutover to %d", g.Live(), gen)
			}
			for range 20 {
				wantVisit(t, g, gen)
			}
			wantProbe(t, g, 1)
			wantProbe(t, g, 2)
		}
	})
}

func TestManyProbesAtOnceReachTheirGenerations(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		switchOver(t, g, 0, 1)
		must(t, g.Stage(2))
		must(t, g.Stage(3))
		startWorker(t, g, 2)
		startWorker(t, g, 3)
		var all sync.WaitGroup
		for i := range 2 * maxDials {
			all.Go(func() {
				gen := 1 + i%3
				if got, err := answered(g.Dial(t.Context(), gen)); err != nil || got != gen {
					t.Errorf("a probe of generation %d reaches %d, %v", gen, got, err)
				}
			})
		}
		all.Wait()
	})
}

func TestClosingOneOfManyMovesNoOther(t *testing.T) {
	for _, order := range [][]int{{1, 2, 3, 4}, {2, 3, 1, 4}, {3, 1, 4, 2}, {4, 3, 2, 1}, {1, 3, 4, 2}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
			for gen := 1; gen <= 4; gen++ {
				must(t, g.Stage(gen))
				startWorker(t, g, gen)
			}
			for i, gen := range order[:3] {
				left := order[i+1:]
				must(t, g.Cutover(left[0]))
				must(t, g.Close(gen))
				for _, other := range left {
					wantProbe(t, g, other)
				}
				wantVisit(t, g, left[0])
			}
			must(t, g.Stage(5))
			startWorker(t, g, 5)
			wantProbe(t, g, 5)
			wantVisit(t, g, order[3])
		})
	}
}

func TestABusyGateSwitchesRepeatedly(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		switchOver(t, g, 0, 1)
		for gen := 2; gen < 12; gen++ {
			switchOver(t, g, gen-1, gen)
			wantVisit(t, g, gen)
		}
		if n := len(g.Members()); n > 2 {
			t.Errorf("%d listeners are left for one generation", n)
		}
	})
}

func TestAClosedGateRefusesConnections(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		switchOver(t, g, 0, 1)
		must(t, g.Close(1))
		if got, err := visit(g); err == nil {
			t.Errorf("a client reaches generation %d", got)
		}
		if g.Live() != 0 {
			t.Errorf("Live() = %d", g.Live())
		}
	})
}

func TestTheFirstGenerationTakesConnectionsAsSoonAsItListens(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	must(t, g.Stage(1))
	conn, err := dialGate(g)
	must(t, err)
	defer conn.Close()
	startWorker(t, g, 1)
	if got, err := answered(conn, nil); err != nil || got != 1 {
		t.Errorf("the connection that waited reaches %d, %v", got, err)
	}
}

func TestConnectionsWaitWhileTheLiveGenerationMustGoFirst(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	switchOver(t, g, 0, 1)
	must(t, g.Stage(2))
	must(t, g.Close(1))
	conn, err := dialGate(g)
	must(t, err)
	startWorker(t, g, 2)
	if got, err := answered(conn, nil); err != nil || got != 2 {
		t.Errorf("the connection that waited reaches %d, %v", got, err)
	}
}

func TestAnUnknownGenerationIsAnError(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		_, err := g.FD(7)
		fails(t, err, "generation 7 has no listener on")
		_, err = g.Dial(t.Context(), 7)
		fails(t, err, "generation 7 has no listener on")
		fails(t, g.Cutover(7), "generation 7 has no listener on")
		fails(t, g.Close(7), "generation 7 has no listener on")
		fails(t, g.Relisten(7), "generation 7 has no listener on")
		_, _, err = g.Queue(7)
		fails(t, err, "generation 7 has no listener on")
		_, err = g.Settle(t.Context(), 7)
		fails(t, err, "generation 7 has no listener on")
		fails(t, g.Stage(0), "counted from 1")
		must(t, g.Stage(1))
		fails(t, g.Stage(1), "has a listener on")
		must(t, g.Cutover(1))
		_, err = g.Settle(t.Context(), 1)
		fails(t, err, "generation 1 is live")
	})
}

func TestTheQueueIsCountedAndClosingReportsWhatIsLost(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		must(t, g.Cutover(1))
		var conns []net.Conn
		for range 3 {
			conn, err := dialGate(g)
			must(t, err)
			defer conn.Close()
			conns = append(conns, conn)
		}
		if length, limit, err := g.Queue(1); length != 3 || limit != defaultBacklog || err != nil {
			t.Errorf("Queue() = %d, %d, %v", length, limit, err)
		}
		must(t, g.Stage(2))
		must(t, g.Cutover(2))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s, err := g.Settle(ctx, 1); s.Left != 3 || err != nil {
			t.Errorf("Settle() = %+v, %v", s, err)
		}
		fails(t, g.Close(1), "3 connections were still queued")
		if _, err := conns[0].Read(make([]byte, 1)); err == nil {
			t.Error("a queued connection is alive")
		}
	})
}

func TestConnectionsAreCountedByTheirHolders(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		must(t, g.Cutover(1))
		fd, err := g.FD(1)
		must(t, err)
		var held []int
		for i := range 3 {
			conn, err := dialGate(g)
			must(t, err)
			defer conn.Close()
			if i == 2 {
				break // stays in the queue
			}
			accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			must(t, err)
			held = append(held, accepted)
		}
		defer unix.Close(held[0])
		if n, err := g.Connections(1, []int{os.Getpid()}); n != 2 || err != nil {
			t.Errorf("two are accepted: %d, %v", n, err)
		}
		_ = unix.Close(held[1])
		if n, err := g.Connections(1, []int{os.Getpid()}); n != 1 || err != nil {
			t.Errorf("one is closed: %d, %v", n, err)
		}
		if n, err := g.Connections(1, []int{1}); n != 0 || err != nil {
			t.Errorf("of a process that has none: %d, %v", n, err)
		}
	})
}

func TestRelistenRestoresBacklogAndNonblock(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		fd, err := g.FD(1)
		must(t, err)
		must(t, unix.Listen(fd, 100)) // as hypercorn does
		if _, limit, _ := g.Queue(1); limit != 100 {
			t.Fatalf("the queue's limit is %d: listening again did not change it", limit)
		}
		must(t, g.Relisten(1))
		if _, limit, _ := g.Queue(1); limit != defaultBacklog {
			t.Errorf("the queue's limit is %d", limit)
		}
		must(t, unix.SetNonblock(fd, false))
		fails(t, g.Relisten(1), "O_NONBLOCK")
		must(t, g.Relisten(1))
	})
}

func TestAListenerThatAWorkerShutDownComesBack(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	for gen := 1; gen <= 3; gen++ {
		must(t, g.Stage(gen))
	}
	startWorker(t, g, 3)
	must(t, g.Cutover(1))
	shutDown(t, g, 1)
	fails(t, g.Cutover(1), "has shut down its listener")
	fails(t, g.Relisten(1), "had shut down the listener")
	startWorker(t, g, 1)
	startWorker(t, g, 2)
	wantVisit(t, g, 1)
	for gen := 1; gen <= 3; gen++ {
		wantProbe(t, g, gen)
	}
}

func TestAWorkersShutdownAtItsEndDoesNotDivertConnections(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	for gen := 1; gen <= 4; gen++ {
		must(t, g.Stage(gen))
	}
	must(t, g.Cutover(3))
	for _, gen := range []int{2, 3, 4} {
		startWorker(t, g, gen)
	}
	shutDown(t, g, 1)
	for _, gen := range []int{4, 3, 2} {
		wantProbe(t, g, gen)
	}
	wantVisit(t, g, 3)
	must(t, g.Close(1))
	must(t, g.Close(2))
	wantVisit(t, g, 3)
	wantProbe(t, g, 4)
}

// shutDown does what uWSGI does with --shutdown-sockets.
func shutDown(t *testing.T, g *Gate, gen int) {
	t.Helper()
	fd, err := g.FD(gen)
	must(t, err)
	must(t, unix.Shutdown(fd, unix.SHUT_RDWR))
}

func TestAGateLeavesNoDescriptor(t *testing.T) {
	before := descriptors(t)
	t.Run("of all that it had", func(t *testing.T) {
		gates(t, func(t *testing.T, g *Gate) {
			for gen := 1; gen <= 4; gen++ {
				must(t, g.Stage(gen))
				startWorker(t, g, gen)
				wantProbe(t, g, gen)
			}
			must(t, g.Cutover(4))
			must(t, g.Close(1))
			must(t, g.Close(2))
			_, err := g.Private()
			must(t, err)
		})
	})
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

func TestTheDescriptorOfAListenerIsNonblockingAndClosedOnExec(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		startWorker(t, g, 1)
		wantProbe(t, g, 1)
		fd, err := g.FD(1)
		must(t, err)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %x, %v", flags, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor flags %x, %v", flags, err)
		}
	})
}

func TestADialEndsWithItsContext(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	must(t, g.Stage(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Dial(ctx, 1)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantNoProbes(t, g)
}

func wantNoProbes(t testing.TB, g *Gate) {
	t.Helper()
	if n := len(g.mechanism.(*steer).probes); n > 0 {
		t.Errorf("%d rules for probes are left in the filter", n)
	}
}

func TestADualStackListenerIsProbedByBothFamilies(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "::")})
	switchOver(t, g, 0, 1)
	must(t, g.Stage(2))
	startWorker(t, g, 2)
	s := g.mechanism.(*steer)
	for _, target := range dialTargets(s.at) {
		for gen := 1; gen <= 2; gen++ {
			if got, err := answered(s.dial(t.Context(), gen, target)); err != nil || got != gen {
				t.Errorf("a probe of generation %d by %s reaches %d, %v", gen, target, got, err)
			}
		}
		if got, err := dialed(target.String()); err != nil || got != 1 {
			t.Errorf("a client of %s reaches %d, %v", target, got, err)
		}
	}
}

// BenchmarkCutover measures one change of the live generation on an idle gate.
func BenchmarkCutover(b *testing.B) {
	g := newGate(b, Options{Address: freePort(b, "127.0.0.1")})
	must(b, g.Stage(1))
	must(b, g.Stage(2))
	for i := 0; b.Loop(); i++ {
		must(b, g.Cutover(1+i%2))
	}
}

// BenchmarkDial measures one probe of the public address: two changes of the filter and a
// connection.
func BenchmarkDial(b *testing.B) {
	g := newGate(b, Options{Address: freePort(b, "127.0.0.1")})
	must(b, g.Stage(1))
	startWorker(b, g, 1)
	for b.Loop() {
		wantProbe(b, g, 1)
	}
}

func TestConnectionsAreSpreadOverTheLiveGenerationsOnly(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	for gen := 1; gen <= 4; gen++ {
		must(t, g.Stage(gen))
		startWorker(t, g, gen)
	}
	// 200 connections all miss one of three generations once in 10^35 runs.
	reached := func() map[int]int {
		t.Helper()
		n := map[int]int{}
		for range 200 {
			conn, err := dialGate(g)
			must(t, err)
			gen, err := answered(conn, nil)
			must(t, err)
			_ = conn.Close()
			n[gen]++
		}
		return n
	}
	must(t, g.Spread([]int{1, 2, 3}))
	if n := reached(); n[1] == 0 || n[2] == 0 || n[3] == 0 || n[4] != 0 {
		t.Errorf("reached: %v", n)
	}
	must(t, g.Spread([]int{4, 2, 3}))
	_, err := g.Settle(t.Context(), 2)
	fails(t, err, "generation 2 is live")
	_, err = g.Settle(t.Context(), 1)
	must(t, err)
	must(t, g.Close(1)) // the kernel would move the last member to its index
	if n := reached(); n[2] == 0 || n[3] == 0 || n[4] == 0 {
		t.Errorf("reached: %v", n)
	}
	must(t, g.Close(4))
	if n := reached(); n[2] == 0 || n[3] == 0 || len(n) != 2 {
		t.Errorf("reached: %v", n)
	}
	must(t, g.Cutover(3))
	if n := reached(); len(n) != 1 || n[3] == 0 {
		t.Errorf("reached: %v", n)
	}
	fails(t, g.Spread(nil), "no generation")
}
