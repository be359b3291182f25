package supervisor

import (
	"slices"
	"time"
)

// The model of the kernel: sockets with accept queues, which live for as long as anybody has a
// descriptor of them, and addresses that send each new connection to one of the sockets bound to
// them.

// simAddress is an address and the sockets that are bound to it: what a gate is in the kernel. It
// outlives a daemon.
type simAddress struct {
	name, address, kind string
	group               []*simSocket // in the order in which they were bound
	target              []*simSocket // where new connections go; none = any of the group, as the kernel's hash does
	canary              *simSocket
	share               int // of 10,000, to canary
	shared              *simSocket
	private             bool
}

// simSocket is one listening socket.
type simSocket struct {
	inode   uint64
	address *simAddress
	number  int
	refs    int
	holders []*simProc
	queue   []*simConn
	coming  int // handshakes that are not through
	healthy int // good answers to probes in a row
	proved  bool
	shut    bool // somebody has called shutdown on it
	hung    bool // what is queued there is lost: the worker that had it has hung, or only orphans have it
	closed  bool
	// when a worker that had it has last ended, or was told to
	deserted time.Time
}

// simConn is one connection of a user.
type simConn struct {
	id     int
	came   time.Time
	socket *simSocket
	until  time.Time // when it is done; zero = not accepted
}

func (m *sim) bind(a *simAddress, number int) *simSocket {
	m.inodes++
	s := &simSocket{inode: m.inodes, address: a, number: number, refs: 1}
	a.group = append(a.group, s)
	m.sockets = append(m.sockets, s)
	return s
}

// unref gives up one descriptor. The last one closes the socket.
func (m *sim) unref(s *simSocket) {
	if s.refs--; s.refs == 0 {
		m.closeSocket(s)
	}
}

// abandonQueues notes the sockets that the next daemon cannot have: those of which only children of
// workers that have ended have descriptors.
func (m *sim) abandonQueues() {
	for _, s := range m.sockets {
		orphans := 0
		for _, p := range s.holders {
			if p.ended {
				orphans++
			}
		}
		s.hung = s.hung || s.refs == orphans
	}
}

// closeSocket ends a listener, and resets what is queued.
func (m *sim) closeSocket(s *simSocket) {
	if s.closed {
		return
	}
	s.closed = true
	s.address.forget(s)
	m.sockets = slices.DeleteFunc(m.sockets, func(o *simSocket) bool { return o == s })
	for _, c := range s.queue {
		m.lost(c, "its queue was closed")
	}
	s.queue = nil
}

// forget has no new connection reach a socket.
func (a *simAddress) forget(s *simSocket) {
	if a.kind == kindShared {
		return
	}
	a.group = slices.DeleteFunc(a.group, func(o *simSocket) bool { return o == s })
	a.target = slices.DeleteFunc(a.target, func(o *simSocket) bool { return o == s })
	if a.canary == s {
		a.canary, a.share = nil, 0
	}
}

// route is the socket that a new connection reaches; nil = it is refused.
func (m *sim) route(a *simAddress, id int) *simSocket {
	switch {
	case a.kind == kindShared:
		return a.shared
	case a.canary != nil && int(m.hash("canary", uint64(id))%10_000) < a.share:
		return a.canary
	case len(a.target) > 0:
		return a.target[m.hash("spread", uint64(id))%uint64(len(a.target))]
	case a.kind == kindSteer && len(a.group) > 0:
		return a.group[m.hash("kernel", uint64(id))%uint64(len(a.group))]
	}
	return nil
}

// connect is a user who connects. The handshake takes its time; the socket is chosen at its
// beginning.
func (m *sim) connect(a *simAddress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns++
	c := &simConn{id: m.conns, came: time.Now(), socket: m.route(a, m.conns)}
	if c.socket == nil || c.socket.shut {
		m.lost(c, "it was refused")
		return
	}
	m.checkRoute(c)
	c.socket.coming++
	trip := time.Duration(1+m.hash("trip", uint64(c.id))%40_000_000) * time.Nanosecond
	time.AfterFunc(trip, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		c.socket.coming--
		if c.socket.closed {
			m.lost(c, "its listener was closed during the handshake")
			return
		}
		c.socket.queue = append(c.socket.queue, c)
		m.accept(c.socket)
	})
}

// accept hands what is queued to a worker that accepts.
func (m *sim) accept(s *simSocket) {
	for len(s.queue) > 0 {
		p := m.acceptor(s)
		if p == nil {
			return
		}
		c := s.queue[0]
		s.queue = s.queue[1:]
		c.until = time.Now().Add(m.serviceTime(c.id))
		p.conns = append(p.conns, c)
		m.served++
		m.countRequest(p, c)
	}
}

// acceptor is a worker that accepts from a socket.
func (m *sim) acceptor(s *simSocket) *simProc {
	var able []*simProc
	for _, p := range s.holders {
		if p.accepts() {
			able = append(able, p)
		}
	}
	if len(able) == 0 {
		return nil
	}
	return able[m.hash("accept", s.inode+uint64(m.served))%uint64(len(able))]
}

func (m *sim) serviceTime(id int) time.Duration {
	t := time.Duration(5+m.hash("service", uint64(id))%700) * time.Millisecond
	if id%37 == 0 {
		t *= 8
	}
	return t
}

// public are the addresses that users know, in order.
func (m *sim) public() (list []*simAddress) {
	for _, a := range m.addresses {
		if !a.private {
			list = append(list, a)
		}
	}
	return list
}
