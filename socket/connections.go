package socket

import "net/netip"

// Connections counts with sock_diag instead of asking the workers, so that it works with every
// server. It counts the connections that one of the processes has open, without those in the accept
// queue.
func (s *steer) Connections(_ int, pids []int) (int, error) {
	return tcpConnections(s.at, pids)
}

// Unanswered counts with sock_diag, as Connections does, the connections on which the server has sent
// nothing yet, and those with bytes that it has not read.
func (s *steer) Unanswered(_ int, pids []int) (int, error) {
	return tcpUnanswered(s.at, pids)
}

// tcpConnections counts established connections and those in CLOSE-WAIT: when the client has closed
// its half, the response may still be on its way.
func tcpConnections(at netip.AddrPort, pids []int) (int, error) {
	return countTCP(at, pids, func(*tcpSocket) bool { return true })
}

// tcpUnanswered counts those of tcpConnections that wait for their first response, or for the server
// to read a request.
func tcpUnanswered(at netip.AddrPort, pids []int) (int, error) {
	return countTCP(at, pids, func(c *tcpSocket) bool { return c.sent == 0 || c.unread > 0 })
}

func countTCP(at netip.AddrPort, pids []int, counts func(*tcpSocket) bool) (n int, err error) {
	list, err := tcpSocketsWith(inetDiagInfo, family(at.Addr()), at.Port(), tcpEstablished, tcpCloseWait)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	held := heldBy(pids)
	for i := range list {
		c := &list[i]
		if held[c.inode] && counts(c) && (at.Addr().IsUnspecified() || c.local.Addr() == at.Addr().WithZone("")) {
			n++
		}
	}
	return n, nil
}

// unixConnections counts the connections accepted from a listener bound to path. The kernel gives
// them the name of the listener.
func unixConnections(path string, pids []int) (n int, err error) {
	list, err := unixSockets(tcpEstablished)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	held := heldBy(pids)
	for _, c := range list {
		if c.name == path && held[c.inode] {
			n++
		}
	}
	return n, nil
}

func heldBy(pids []int) map[uint32]bool {
	held := map[uint32]bool{}
	for _, pid := range pids {
		open, _ := openSockets(pid) // fails if the process may not be inspected
		for _, inode := range open {
			held[uint32(inode)] = true
		}
	}
	return held
}
