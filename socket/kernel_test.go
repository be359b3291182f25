package socket

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel facts on which the gate is built (DESIGN.md, section 4), each tested against the
// running kernel.

// rawGroup is the listeners of one address in the order in which they joined.
type rawGroup struct {
	at  netip.AddrPort
	fds []int
}

func newRawGroup(t *testing.T, size int) *rawGroup {
	t.Helper()
	g := &rawGroup{at: freePort(t, "127.0.0.1").tcp}
	for range size {
		fd, err := listenTCP(g.at, 100)
		must(t, err)
		g.fds = append(g.fds, fd)
	}
	t.Cleanup(func() {
		for i := range g.fds {
			g.close(t, i)
		}
	})
	return g
}

func (g *rawGroup) close(t *testing.T, i int) {
	t.Helper()
	if g.fds[i] >= 0 {
		must(t, unix.Close(g.fds[i]))
		g.fds[i] = -1
	}
}

func (g *rawGroup) filter(t *testing.T, index int) {
	t.Helper()
	for _, fd := range g.fds {
		if fd >= 0 {
			must(t, filter{live: index}.attach(fd))
			return
		}
	}
}

// reached returns which of the listeners gets a new connection.
func (g *rawGroup) reached(t *testing.T) int {
	t.Helper()
	conn, err := net.Dial("tcp", g.at.String())
	must(t, err)
	defer conn.Close()
	for i, fd := range g.fds {
		if fd < 0 {
			continue
		}
		if accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err == nil {
			must(t, unix.SetsockoptLinger(accepted, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			must(t, unix.Close(accepted))
			return i
		}
	}
	t.Fatal("the connection arrived nowhere")
	return -1
}

func TestKernelOrdersAGroupByListening(t *testing.T) {
	at := freePort(t, "127.0.0.1").tcp
	g := &rawGroup{at: at}
	for range 3 {
		fd, err := tcpSocketAt(at)
		must(t, err)
		defer unix.Close(fd)
		g.fds = append(g.fds, fd)
	}
	for _, i := range []int{2, 0, 1} { // bound in one order, listening in another
		must(t, unix.Listen(g.fds[i], 10))
	}
	for index, want := range []int{2, 0, 1} {
		g.filter(t, index)
		if got := g.reached(t); got != want {
			t.Errorf("index %d is the listener bound as number %d, want %d", index, got, want)
		}
	}
}

func TestKernelMovesTheLastListenerToTheIndexOfOneThatLeaves(t *testing.T) {
	g := newRawGroup(t, 4)
	g.filter(t, 3)
	if got := g.reached(t); got != 3 {
		t.Fatalf("index 3 is listener %d", got)
	}
	g.close(t, 1)
	for index, want := range []int{0, 3, 2} {
		g.filter(t, index)
		if got := g.reached(t); got != want {
			t.Errorf("index %d is listener %d, want %d", index, got, want)
		}
	}
}

func TestKernelMovesTheLastListenerAlsoOnShutdown(t *testing.T) {
	g := newRawGroup(t, 3)
	dup, err := unix.FcntlInt(uintptr(g.fds[0]), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	g.filter(t, 0)
	g.close(t, 0)
	g.fds[0] = dup
	if got := g.reached(t); got != 0 {
		t.Fatalf("closing one of two descriptors took the listener away: index 0 is listener %d", got)
	}
	must(t, unix.Shutdown(dup, unix.SHUT_RD))
	if got := g.reached(t); got != 2 {
		t.Errorf("index 0 is listener %d after the shutdown, want 2", got)
	}
}

func TestKernelFallsBackToTheHashWhenTheIndexIsOutOfRange(t *testing.T) {
	g := newRawGroup(t, 2)
	g.filter(t, 7)
	seen := map[int]bool{}
	for range 200 {
		seen[g.reached(t)] = true
	}
	if !seen[0] || !seen[1] {
		t.Errorf("only %v were reached", seen)
	}
	g.close(t, 0)
	for range 20 {
		if got := g.reached(t); got != 1 {
			t.Fatalf("the only one left is not reached, but %d", got)
		}
	}
}

func TestKernelResetsWhatIsQueuedWhenAListenerCloses(t *testing.T) {
	g := newRawGroup(t, 2)
	g.filter(t, 1)
	conn, err := net.Dial("tcp", g.at.String())
	must(t, err)
	defer conn.Close()
	if n, _, err := tcpQueue(g.fds[1]); n != 1 || err != nil {
		t.Fatalf("queue %d, %v", n, err)
	}
	g.close(t, 1)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("error %v, want ECONNRESET", err)
	}
}

func TestKernelChangesTheBacklogWhenAListenerListensAgain(t *testing.T) {
	g := newRawGroup(t, 1)
	for _, backlog := range []int{7, 300} {
		must(t, unix.Listen(g.fds[0], backlog))
		if _, limit, err := tcpQueue(g.fds[0]); limit != backlog || err != nil {
			t.Errorf("limit %d, %v; want %d", limit, err, backlog)
		}
	}
}

func TestKernelRefusesTheFilterOnMPTCPSockets(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Skipf("this kernel has no MPTCP: %v", err)
	}
	defer unix.Close(fd)
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	if err := (filter{}).attach(fd); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("error %v, want EOPNOTSUPP", err)
	}
	must(t, checkSteerable())
}

func TestKernelPassesNoDelayToAcceptedConnections(t *testing.T) {
	g := newRawGroup(t, 1)
	conn, err := net.Dial("tcp", g.at.String())
	must(t, err)
	defer func() { must(t, conn.Close()) }()
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(g.fds[0]), Events: unix.POLLIN}}, 10_000)
	must(t, err)
	fd, _, err := unix.Accept(g.fds[0])
	must(t, err)
	defer func() { must(t, unix.Close(fd)) }()
	if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on == 0 {
		t.Errorf("TCP_NODELAY of an accepted connection: %d, %v", on, err)
	}
}

func TestKernelLetsOnlyTheSameUserIntoAGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the user")
	}
	g := newRawGroup(t, 1)
	runtime.LockOSThread() // the fsuid belongs to this thread, which ends with the test
	must(t, unix.Setfsuid(65534))
	_, err := listenTCP(g.at, 10)
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("error %v, want EADDRINUSE", err)
	}
}

// TestKernelSharesNonblockAmongDescriptors shows why nothing here may clear O_NONBLOCK: the flag
// belongs to the description that all workers share.
func TestKernelSharesNonblockAmongDescriptors(t *testing.T) {
	g := newRawGroup(t, 1)
	dup, err := unix.FcntlInt(uintptr(g.fds[0]), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	defer unix.Close(dup)
	must(t, unix.SetNonblock(dup, false))
	flags, err := unix.FcntlInt(uintptr(g.fds[0]), unix.F_GETFL, 0)
	must(t, err)
	if flags&unix.O_NONBLOCK != 0 {
		t.Error("it is not shared")
	}
}

func TestNonblockSurvivesEveryGateOperation(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		fd, err := g.FD(1)
		must(t, err)
		check := func(after string) {
			t.Helper()
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
				t.Errorf("after %s: flags %x, %v", after, flags, err)
			}
		}
		startWorker(t, g, 1)
		must(t, g.Cutover(1))
		check("Cutover")
		wantProbe(t, g, 1)
		check("Dial")
		must(t, g.Relisten(1))
		check("Relisten")
		_, _, err = g.Queue(1)
		must(t, err)
		_, err = g.Connections(1, []int{os.Getpid()})
		must(t, err)
		check("Queue and Connections")
		copied, err := duplicate(rawFile(t, fd))
		must(t, err)
		check("duplicate")
		next, err := New(g.options)
		must(t, err)
		must(t, next.Adopt(1, copied))
		check("Adopt")
		must(t, unix.Close(copied))
		must(t, g.Stage(2))
		must(t, g.Cutover(2))
		_, err = g.Settle(soon(t), 1)
		must(t, err)
		check("Settle")
	})
}

func TestTheShareOfACanaryIsOfNewConnections(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	switchOver(t, g, 0, 1)
	must(t, g.Stage(2))
	startWorker(t, g, 2)
	count := func(n int) (canary int) {
		for range n {
			got, err := visit(g)
			must(t, err)
			if got == 2 {
				canary++
			}
		}
		return canary
	}
	must(t, g.Canary(2, wholeShare/4, nil))
	// A quarter of 2,000 is 500; six standard deviations are 116.
	if n := count(2000); n < 384 || n > 616 {
		t.Errorf("%d of 2000 went to the canary", n)
	}
	wantProbe(t, g, 1)
	wantProbe(t, g, 2)
	must(t, g.Canary(2, wholeShare, nil))
	if n := count(100); n != 100 {
		t.Errorf("%d of 100 went to a canary of everybody", n)
	}
	must(t, g.Canary(2, 0, nil))
	if n := count(100); n != 0 {
		t.Errorf("%d of 100 went to a canary with a share of 0", n)
	}
	fails(t, g.Canary(1, 1, nil), "generation 1 is live")
	fails(t, g.Canary(2, wholeShare+1, nil), "canary share of 10001")
	must(t, g.Canary(2, wholeShare, nil))
	must(t, g.Close(2))
	if n := count(100); n != 0 {
		t.Errorf("%d of 100 went to a canary that is closed", n)
	}
}

func TestACanaryEndsAlsoWhenItsListenerIsShutDown(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	switchOver(t, g, 0, 1)
	for gen := 2; gen <= 4; gen++ {
		must(t, g.Stage(gen))
		startWorker(t, g, gen)
	}
	must(t, g.Canary(2, wholeShare, nil))
	wantVisit(t, g, 2)
	shutDown(t, g, 2)
	must(t, g.Canary(2, 0, nil))
	for range 50 {
		wantVisit(t, g, 1)
	}
	wantProbe(t, g, 3)
	fails(t, g.Canary(2, 1, nil), "has shut down its listener")
	must(t, g.Canary(3, wholeShare, nil))
	shutDown(t, g, 3)
	must(t, g.Cutover(1)) // any change that attaches the filter again
	for range 50 {
		wantVisit(t, g, 1)
	}
}

func TestTheNetworksOfACanaryAreExact(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "")})
	switchOver(t, g, 0, 1)
	must(t, g.Stage(2))
	startWorker(t, g, 2)
	must(t, g.Canary(2, 0, networks("127.7.0.0/16", "::1/128")))
	port := g.options.Address.tcp.Port()
	for source, want := range map[string]int{
		"127.7.0.1": 2, "127.7.255.255": 2, "127.8.0.1": 1, "127.0.0.1": 1,
		"::1": 2,
	} {
		from := netip.MustParseAddr(source)
		to := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if from.Is6() {
			to = netip.IPv6Loopback()
		}
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err := d.Dial("tcp", netip.AddrPortFrom(to, port).String())
		if got, err := answered(conn, err); got != want || err != nil {
			t.Errorf("from %s: generation %d, %v; want %d", source, got, err, want)
		}
	}
	must(t, g.Cutover(2))
	wantVisit(t, g, 2)
}
