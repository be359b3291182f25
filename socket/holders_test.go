package socket

import (
	"context"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

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
