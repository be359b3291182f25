package socket

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
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

// BenchmarkCutover measures one change of the live generation on an idle gate.
func BenchmarkCutover(b *testing.B) {
	g := newGate(b, Options{Address: freePort(b, "127.0.0.1")})
	must(b, g.Stage(1))
	must(b, g.Stage(2))
	for i := 0; b.Loop(); i++ {
		must(b, g.Cutover(1+i%2))
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
