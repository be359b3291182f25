package socket

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// stranger is a listener of our user on the address of a gate; it accepts nothing.
type stranger struct{ fd int }

func startStranger(t *testing.T, g *Gate) *stranger {
	t.Helper()
	fd, err := listenTCP(g.options.Address.tcp, 100)
	must(t, err)
	s := &stranger{fd}
	t.Cleanup(func() { s.leave(t) })
	return s
}

func (s *stranger) leave(t *testing.T) {
	t.Helper()
	if s.fd >= 0 {
		must(t, unix.Close(s.fd))
		s.fd = -1
	}
}

// visitorIP is the source address of these tests' clients. A connection to a stranger from another
// address is a trace by the gate itself and does not count.
const visitorIP = "127.0.0.9"

// got returns how many clients have reached the stranger.
func (s *stranger) got(t *testing.T) (n int) {
	t.Helper()
	for s.fd >= 0 {
		conn, from, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
		if err != nil {
			break
		}
		must(t, unix.Close(conn))
		if a, ok := from.(*unix.SockaddrInet4); ok && netip.AddrFrom4(a.Addr).String() == visitorIP {
			n++
		}
	}
	return n
}

// wantClient fails the test unless a client reaches that generation.
func wantClient(t *testing.T, g *Gate, want int) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(visitorIP)}}
	conn, err := d.Dial("tcp", g.options.Address.tcp.String())
	if got, err := answered(conn, err); err != nil || got != want {
		t.Fatalf("a client reaches %d, %v; want %d", got, err, want)
	}
}

func TestAStrangerInTheGroupGetsNoConnections(t *testing.T) {
	for _, joins := range []string{"before the stage", "after the stage", "after the cutover"} {
		t.Run(joins, func(t *testing.T) {
			g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
			switchOver(t, g, 0, 1)
			var x *stranger
			join := func(when string) {
				if joins == when {
					x = startStranger(t, g)
				}
			}
			join("before the stage")
			must(t, g.Stage(2))
			join("after the stage")
			startWorker(t, g, 2)
			must(t, g.Cutover(2))
			join("after the cutover")
			must(t, g.Close(1))
			for range 20 {
				wantClient(t, g, 2)
			}
			must(t, g.Verify(t.Context(), 2))
			switchOver(t, g, 2, 3)
			if n := x.got(t); n != 0 {
				t.Errorf("it got %d connections", n)
			}
			if list := g.Strangers(); len(list) != 1 || !strings.Contains(list[0], "it gets no connections") {
				t.Errorf("Strangers() = %q", list)
			}
			x.leave(t)
			wantVisit(t, g, 3)
			if list := g.Strangers(); len(list) != 0 {
				t.Errorf("Strangers() = %q after it has left", list)
			}
		})
	}
}

func TestAListenerThatTakesConnectionsIsNamed(t *testing.T) {
	any4 := freePort(t, "0.0.0.0")
	g := newGate(t, Options{Address: any4})
	must(t, g.Stage(1))
	must(t, g.Cutover(1))
	must(t, g.Verify(t.Context(), 1))
	fd, err := listenTCP(address(t, fmt.Sprintf("127.0.0.1:%d", any4.tcp.Port())).tcp, 10)
	must(t, err)
	defer unix.Close(fd)
	fails(t, g.Verify(t.Context(), 1), "does not reach the listener")
	if list := g.Strangers(); len(list) != 1 ||
		!strings.Contains(list[0], "takes connections that are meant for "+any4.String()) {
		t.Errorf("Strangers() = %q", list)
	}
}

func TestAWrongIndexIsFoundAndCorrected(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1", "::"} {
		t.Run(host, func(t *testing.T) {
			g := newGate(t, Options{Address: freePort(t, host)})
			for gen := 1; gen <= 4; gen++ {
				must(t, g.Stage(gen))
				startWorker(t, g, gen)
			}
			must(t, g.Cutover(2))
			s := g.mechanism.(*steer)
			s.mu.Lock()
			s.group[0], s.group[1], s.group[2] = s.group[1], s.group[2], s.group[0]
			must(t, s.attach())
			s.mu.Unlock()
			must(t, g.Verify(t.Context(), 2))
			wantVisit(t, g, 2)
			for gen := 1; gen <= 4; gen++ {
				must(t, g.Verify(t.Context(), gen))
				wantProbe(t, g, gen)
			}
		})
	}
}

// visitAllTheTime runs a client that keeps connecting. No connection may be refused or hang.
func visitAllTheTime(t *testing.T, g *Gate) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(visitorIP)}}
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			default:
			}
			conn, err := d.Dial("tcp", g.options.Address.tcp.String())
			if _, err := answered(conn, err); err != nil {
				t.Errorf("client %d: %v", n, err)
				return
			}
		}
	}()
	return func() { close(over); <-done }
}

// TestStrangersNeverDivertClientsFromTheLiveGeneration performs a few hundred random steps and
// checks after each one.
func TestStrangersNeverDivertClientsFromTheLiveGeneration(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0)) // to be repeated
			g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
			switchOver(t, g, 0, 1)
			live, next, staged := 1, 2, []int{1}
			var strangers []*stranger
			defer visitAllTheTime(t, g)()
			for range 40 {
				switch r.IntN(6) {
				case 0, 1:
					strangers = append(strangers, startStranger(t, g))
				case 2:
					if len(strangers) > 0 {
						i := r.IntN(len(strangers))
						if n := strangers[i].got(t); n != 0 {
							t.Fatalf("a stranger got %d connections", n)
						}
						strangers[i].leave(t)
						strangers = slices.Delete(strangers, i, i+1)
						must(t, g.Verify(t.Context(), live))
					}
				case 3:
					must(t, g.Stage(next))
					startWorker(t, g, next)
					staged = append(staged, next)
					next++
				case 4:
					live = staged[r.IntN(len(staged))]
					must(t, g.Cutover(live))
				case 5:
					if gen := staged[r.IntN(len(staged))]; gen != live {
						_, err := g.Settle(soon(t), gen)
						must(t, err)
						must(t, g.Close(gen))
						staged = slices.DeleteFunc(staged, func(n int) bool { return n == gen })
					}
				}
				wantClient(t, g, live)
				for _, gen := range staged {
					wantProbe(t, g, gen)
				}
			}
			for _, x := range strangers {
				if n := x.got(t); n != 0 {
					t.Errorf("a stranger got %d connections", n)
				}
			}
		})
	}
}
