package socket

import "net/netip"

// Connections counts by sock_diag and not by asking the workers: it works with every server. A connection is somebody's
// when one of the processes has it open; what is still in an accept queue is nobody's.
func (s *steer) Connections(_ int, pids []int) (int, error) {
	return tcpConnections(s.at, pids)
}

// tcpConnections counts connections that both ends have open, or only our end: of a client that has closed its half the
// answer may still be on its way.
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

// unixConnections counts connections that were accepted from a listener bound to path: they have its name.
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
		for inode := range socketsOf(pid) {
			if inode != 0 {
				held[inode] = true
			}
		}
	}
	return held
}
