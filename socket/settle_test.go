package socket

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestSettleEndsAfterSomeEmptyChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := []int{2, 0, 0, 1, 0, 0, 0, 9}
		s, err := settle(t.Context(), time.Now(), 3, func() (int, error) {
			left := looks[0]
			looks = looks[1:]
			return left, nil
		})
		if err != nil || s != (Settled{Waited: 6 * settleInterval}) || len(looks) != 1 {
			t.Errorf("%+v, %v, %v", s, err, looks)
		}
	})
}

func TestSettleEndsWithItsContextAndReportsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s, err := settle(ctx, time.Now(), 3, func() (int, error) { return 4, nil })
		if err != nil || s != (Settled{Waited: 5 * time.Second, Left: 4}) {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

func TestSettleEndsWithAnErrorOfACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := settle(t.Context(), time.Now(), 3, func() (int, error) { return 0, errors.New("gone") })
		fails(t, err, "gone")
	})
}

// steerAt returns a gate in the namespace of the test.
func steerAt(t *testing.T, text string) *Gate {
	t.Helper()
	return newGate(t, Options{Address: address(t, text), Gate: "steer"})
}

func TestSettleWaitsForAHandshakeThatTheCutoverOvertook(t *testing.T) {
	for _, text := range []string{serverIP + ":8000", "0.0.0.0:8000", "[::]:8000"} {
		t.Run(text, func(t *testing.T) {
			l := newLink(t, 0)
			g := steerAt(t, text)
			must(t, g.Stage(1))
			must(t, g.Cutover(1))
			l.toClients.hold()
			conn := l.connect(netip.MustParseAddrPort(serverIP + ":8000"))
			l.toClients.waitTCP(1) // the SYN-ACK: the handshake is half-open now
			must(t, g.Stage(2))
			startWorker(t, g, 2)
			must(t, g.Cutover(2))
			if length, _, err := g.Queue(1); length != 0 || err != nil {
				t.Fatalf("queue %d, %v", length, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if s, err := g.Settle(ctx, 1); s.Left != 1 || err != nil {
				t.Errorf("Settle() = %+v, %v: it does not see the half-open handshake", s, err)
			}
			startWorker(t, g, 1)
			l.toClients.release()
			if s, err := g.Settle(soon(t), 1); s.Left != 0 || err != nil {
				t.Errorf("Settle() = %+v, %v", s, err)
			}
			must(t, g.Close(1))
			if got, err := answer(conn); got != "1" || err != nil {
				t.Errorf("the client whose handshake was under way is answered %q, %v", got, err)
			}
		})
	}
}

// TestKernelResetsAHandshakeWhoseListenerCloses shows why Settle waits for half-open handshakes.
func TestKernelResetsAHandshakeWhoseListenerCloses(t *testing.T) {
	l := newLink(t, 0)
	g := steerAt(t, serverIP+":8000")
	for gen := 1; gen <= 2; gen++ {
		must(t, g.Stage(gen))
	}
	startWorker(t, g, 2)
	must(t, g.Cutover(1))
	l.toClients.hold()
	conn := l.connect(netip.MustParseAddrPort(serverIP + ":8000"))
	l.toClients.waitTCP(1)
	must(t, g.Cutover(2))
	must(t, g.Close(1))
	l.toClients.release()
	if got, err := answer(conn); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("answered %q, %v; want ECONNRESET", got, err)
	}
}

func TestAnAbandonedHandshakeDoesNotBlockASettle(t *testing.T) {
	l := newLink(t, 0)
	g := steerAt(t, serverIP+":8000")
	for gen := 1; gen <= 2; gen++ {
		must(t, g.Stage(gen))
	}
	must(t, g.Cutover(1))
	l.toClients.hold()
	l.connect(netip.MustParseAddrPort(serverIP + ":8000"))
	l.toClients.waitTCP(1)
	must(t, g.Cutover(2))
	// The kernel retransmits its SYN-ACK after 1, 3 and 7 seconds; the test waits for the first
	// only.
	s := g.mechanism.(*steer)
	before, err := s.halfOpen(1)
	if err != nil || len(before) != 1 {
		t.Fatalf("half-open: %v, %v", before, err)
	}
	l.toClients.waitTCP(2)
	if after, err := s.halfOpen(1); err != nil || len(after) != 0 {
		t.Errorf("half-open after a repetition: %v, %v", after, err)
	}
}

func TestNothingIsLostOverALinkWithALongRoundTrip(t *testing.T) {
	l := newLink(t, 25*time.Millisecond)
	g := steerAt(t, "0.0.0.0:8000")
	switchOver(t, g, 0, 1)
	end := make(chan struct{})
	wait := l.busy(netip.MustParseAddrPort(serverIP+":8000"), end, 16)
	for gen := 2; gen < 10; gen++ {
		switchOver(t, g, gen-1, gen)
	}
	close(end)
	if served, err := wait(); err != nil || served == 0 {
		t.Errorf("%d served, %v", served, err)
	}
}

// TestProbesFindTheirGenerationWithSYNCookies runs with SYN cookies, for which the kernel runs the
// filter for the ACK too, and only that decision counts.
func TestProbesFindTheirGenerationWithSYNCookies(t *testing.T) {
	runtime.LockOSThread()
	l := &link{t: t}
	ns := 0
	tun := l.namespace(&ns, serverIP)
	defer tun.Close()
	must(t, os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte("2"), 0))
	g := steerAt(t, "127.0.0.1:8000")
	switchOver(t, g, 0, 1)
	must(t, g.Stage(2))
	startWorker(t, g, 2)
	for range 200 {
		wantProbe(t, g, 2)
		wantVisit(t, g, 1)
	}
}
