package socket

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settleEvery is how long Settle waits between two looks. The kernel has no event for "this queue is empty now" (epoll
	// tells the opposite), so here, and nowhere else, looking again is right; ctx bounds it.
	settleEvery = 10 * time.Millisecond
	// settleLooks is how many looks in a row must find nothing.
	settleLooks = 3
	// blindLooks is the same where sock_diag is not to be had, and half-open handshakes are not seen: over a link with a
	// round trip of 300 ms, 50 ms of settling lost 932 connections in 12 switches, and a second lost none.
	blindLooks = int(time.Second / settleEvery)
	// deafAfter is after how many repetitions of its SYN-ACK, seven seconds, a half-open handshake is nobody's any more:
	// a scanner's, or one end of a flood. Such are always there on a public address and would make each settle last to
	// its limit.
	deafAfter = 3
)

// settle looks until look has found nothing left looks times in a row, or until ctx ends.
func settle(ctx context.Context, begun time.Time, looks int, look func() (left int, err error)) (Settled, error) {
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for quiet := 0; ; {
		left, err := look()
		if err != nil {
			return Settled{Waited: time.Since(begun)}, err
		}
		if quiet++; left > 0 {
			quiet = 0
		}
		if quiet == looks {
			return Settled{Waited: time.Since(begun)}, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return Settled{Waited: time.Since(begun), Left: left}, nil
		}
	}
}

// Settle waits for the accept queue of gen and for the handshakes that were half-open when it is called. Those of other
// generations are waited for too, as the kernel does not tell to which listener one belongs. Later ones go to the live
// generation: the filter is asked once, by the SYN, and the request remembers its listener (inet_request_sock, rsk_listener).
func (s *steer) Settle(ctx context.Context, gen int) (Settled, error) {
	s.mu.Lock()
	serves := s.serves(gen)
	s.mu.Unlock()
	if serves {
		return Settled{}, fmt.Errorf("generation %d is live: its queue is not going to be empty", gen)
	}
	begun := time.Now()
	passing()
	looks := settleLooks
	before, err := s.halfOpen()
	if err != nil {
		before, looks = nil, blindLooks
	}
	return settle(ctx, begun, looks, func() (int, error) {
		// First the half-open ones and then the queue: one that is accepted in between is then seen twice and not missed.
		if len(before) > 0 {
			now, err := s.halfOpen()
			if err != nil {
				return 0, err
			}
			for handshake := range before {
				if !now[handshake] {
					delete(before, handshake)
				}
			}
		}
		queued, _, err := s.Queue(gen)
		return len(before) + queued, err
	})
}

// handshake is one that has been begun and not ended.
type handshake struct {
	remote netip.AddrPort
	cookie uint64
}

// halfOpen is the handshakes under way on our address.
func (s *steer) halfOpen() (map[handshake]bool, error) { return s.halfOpenResent(deafAfter) }

// halfOpenResent is those of which the SYN-ACK was repeated less often than that.
func (s *steer) halfOpenResent(limit uint8) (map[handshake]bool, error) {
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

// family is the family of a listener on ip; connections by IPv4 to a dual-stack listener are of the family of the listener.
func family(ip netip.Addr) uint8 {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// passing waits until every packet that may have met the filter of before has been dealt with. The kernel handles a packet
// within one RCU read section, from the filter to the request being visible to sock_diag, and this call waits for all of
// those that have begun (kernel/sched/membarrier.c, MEMBARRIER_CMD_GLOBAL is synchronize_rcu). Where it is not to be had,
// the looks that must find nothing in a row are longer than a packet takes.
func passing() {
	const membarrierGlobal = 1
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

// tcpQueue is the accept queue of a TCP listener: tcp_get_info puts its length and its limit into two fields that mean
// something else for a connection (net/ipv4/tcp.c).
func tcpQueue(fd int) (length, limit int, err error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, fmt.Errorf("queue: %w", err)
	}
	if info.State != tcpListen {
		return 0, 0, nil // shut down by a worker: what was queued is gone
	}
	return int(info.Unacked), int(info.Sacked), nil
}
