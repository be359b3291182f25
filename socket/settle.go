package socket

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settleInterval is the time between two checks. The kernel has no event for an empty queue
	// (epoll reports the opposite), so here, and only here, Settle polls; ctx bounds it.
	settleInterval = 10 * time.Millisecond
	// settleChecks is how many checks in a row must find nothing.
	settleChecks = 3
	// settleChecksBlind replaces settleChecks if sock_diag is missing, so that half-open handshakes
	// cannot be seen. Over a link with a round trip of 300 ms, 50 ms of settling lost 932
	// connections in 12 switches; one second lost none.
	settleChecksBlind = int(time.Second / settleInterval)
	// maxResent is the number of SYN-ACK retransmissions, after seven seconds, from which on a
	// half-open handshake counts as abandoned: a port scan, or part of a SYN flood. A public
	// address always has some, and each settle would last until its deadline.
	maxResent = 3
)

// settle calls check until it has found nothing left `checks` times in a row, or until ctx ends.
func settle(ctx context.Context, begun time.Time, checks int, check func() (left int, err error)) (Settled, error) {
	ticker := time.NewTicker(settleInterval)
	defer ticker.Stop()
	for quiet := 0; ; {
		left, err := check()
		if err != nil {
			return Settled{Waited: time.Since(begun)}, err
		}
		if quiet++; left > 0 {
			quiet = 0
		}
		if quiet == checks {
			return Settled{Waited: time.Since(begun)}, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return Settled{Waited: time.Since(begun), Left: left}, nil
		}
	}
}

// Settle waits for the accept queue of gen, and for the handshakes that are half-open when it is
// called. That includes the handshakes of other generations, because the kernel does not tell which
// listener a handshake belongs to. Later handshakes go to the live generation: the kernel runs the
// filter for the SYN only, and the request remembers its listener (inet_request_sock,
// rsk_listener).
func (s *steer) Settle(ctx context.Context, gen int) (Settled, error) {
	s.mu.Lock()
	serves := s.serves(gen)
	s.mu.Unlock()
	if serves {
		return Settled{}, fmt.Errorf("generation %d is live: its queue is not going to be empty", gen)
	}
	return settleTCP(ctx, s, func() (int, error) {
		queued, _, err := s.Queue(gen)
		return queued, err
	})
}

// settleTCP waits for the handshakes that are half-open now on the address of s, and until queue
// returns 0.
func settleTCP(ctx context.Context, s *steer, queue func() (int, error)) (Settled, error) {
	begun := time.Now()
	awaitPacketsInFlight()
	checks := settleChecks
	before, err := s.halfOpen(maxResent)
	if err != nil {
		before, checks = nil, settleChecksBlind
	}
	return settle(ctx, begun, checks, func() (int, error) {
		// Check the half-open handshakes before the queue: one that completes in between is then
		// counted twice instead of missed.
		if len(before) > 0 {
			now, err := s.halfOpen(maxResent)
			if err != nil {
				return 0, err
			}
			for handshake := range before {
				if !now[handshake] {
					delete(before, handshake)
				}
			}
		}
		queued, err := queue()
		return len(before) + queued, err
	})
}

// handshake identifies a half-open handshake.
type handshake struct {
	remote netip.AddrPort
	cookie uint64
}

// halfOpen returns the half-open handshakes on our address with fewer than limit SYN-ACK
// retransmissions.
func (s *steer) halfOpen(limit uint8) (map[handshake]bool, error) {
	list, err := tcpSockets(s.family(), s.at.Port(), tcpNewSynRecv)
	if err != nil {
		return nil, err
	}
	found := map[handshake]bool{}
	for _, l := range list {
		if l.state == tcpSynRecv && l.resent < limit && s.reaches(l.local.Addr()) {
			found[handshake{l.remote, l.cookie}] = true
		}
	}
	return found, nil
}

func (s *steer) family() uint8 { return family(s.at.Addr()) }

func (s *steer) reaches(ip netip.Addr) bool {
	return s.at.Addr().IsUnspecified() || ip == s.at.Addr().WithZone("")
}

// family returns the address family of a listener on ip. An IPv4 connection to a dual-stack
// listener has the listener's family.
func family(ip netip.Addr) uint8 {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// awaitPacketsInFlight waits until the kernel has processed every packet that may have met the
// previous filter. The kernel processes a packet within one RCU read section, from the filter until
// sock_diag shows the request. membarrier waits for all read sections that have begun
// (kernel/sched/membarrier.c, MEMBARRIER_CMD_GLOBAL is synchronize_rcu). If the call is missing,
// the checks in a row take longer than a packet does.
func awaitPacketsInFlight() {
	const membarrierGlobal = 1
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

// tcpQueue returns the length and the limit of the accept queue of a TCP listener. tcp_get_info
// reports them in two fields that mean something else for a connection (net/ipv4/tcp.c).
func tcpQueue(fd int) (length, limit int, err error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, fmt.Errorf("queue: %w", err)
	}
	if info.State != tcpListen {
		return 0, 0, nil // a worker has shut it down, and the queued connections are gone
	}
	return int(info.Unacked), int(info.Sacked), nil
}
