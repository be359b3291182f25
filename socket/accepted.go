package socket

// Accepted is a connection that a process has accepted and whose client has not closed it.
type Accepted struct {
	Inode  uint64
	Unread bool // bytes have arrived that no process has read yet
}

// AcceptedFrom lists the established connections of a listener that some process has open, without
// those in its accept queue. Connections of other listeners that share the address are in the list
// too: compare the inodes with the descriptors of a process.
func AcceptedFrom(l Listening) ([]Accepted, error) {
	if !l.Addr.IsValid() {
		return acceptedUnix(l.Path)
	}
	list, err := tcpSockets(family(l.Addr.Addr()), l.Addr.Port(), tcpEstablished)
	if err != nil {
		return nil, err
	}
	var accepted []Accepted
	for _, c := range list {
		if c.inode != 0 && (l.Addr.Addr().IsUnspecified() || c.local.Addr() == l.Addr.Addr().WithZone("")) {
			accepted = append(accepted, Accepted{uint64(c.inode), c.unread > 0})
		}
	}
	return accepted, nil
}

// acceptedUnix lists the connections whose name is the path: the kernel gives an accepted
// connection the name that its listener was bound to.
func acceptedUnix(path string) (accepted []Accepted, err error) {
	err = diag(unixRequest(0, showName|showRQLen, tcpEstablished), func(b []byte) {
		if c, ok := parseUnix(b); ok && c.stream && c.inode != 0 && displayName(c.name) == path {
			accepted = append(accepted, Accepted{uint64(c.inode), c.queue > 0})
		}
	}, true)
	return accepted, err
}
