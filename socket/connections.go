package socket

import "net/netip"

// Connections counts with sock_diag instead of asking the workers, so that it works with every
// server. It counts the connections that one of the processes has open, without those in the accept
// queue.
func (s *steer) Connections(_ int, pids []int) (int, error) {
	return tcpConnections(s.at, pids)
}

// tcpConnections counts established connections and those in CLOSE-WAIT: when the client has closed
// its half, the response may still be on its way.
func tcpConnections(at netip.AddrPort, pids []int) (n int, err error) {
	list, err := tcpSockets(family(at.Addr()), at.Port(), tcpEstablished, tcpCloseWait)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	held := heldBy(pids)
	for _, c := range list {
		if held[c.inode] && (at.Addr().IsUnspecified() || c.local.Addr() == at.Addr().WithZone("")) {
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
