package socket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	stageTries = 3 // how many spares are tried before staging fails
	// traceTimeout bounds one trace, which takes some microseconds. The caller holds the gate's
	// lock meanwhile.
	traceTimeout = 200 * time.Millisecond
)

// Verify checks by a trace that a generation's listener has the index that the filter uses and,
// when it is live, that clients reach it. If not, it measures the group and corrects the filter. An
// error means that another process gets the connections.
func (s *steer) Verify(_ context.Context, gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.survey(); err != nil {
		return err
	}
	m, err := s.member(gen)
	if err != nil {
		return err
	}
	if s.shutDown.find(gen) < 0 {
		err = s.verifyIndex(m.fd)
	}
	if err == nil && s.serves(gen) {
		err = s.verifyClients()
	}
	return errors.Join(err, s.spares().pad())
}

// verifyClients checks that clients reach a listener that serves.
func (s *steer) verifyClients() error {
	if s.clientsServed() {
		return nil
	}
	if err := s.remeasure(); err != nil {
		return err
	}
	if s.clientsServed() {
		return nil
	}
	return fmt.Errorf("connections to %s do not reach generation %d: %w", s.text, s.live, errTaken)
}

var errTaken = errors.New("another listener or a firewall rule takes them")

// clientsServed reports whether an ordinary SYN reaches a listener that serves.
func (s *steer) clientsServed() bool {
	at, err := s.traceSYN(nil)
	return err != nil || slices.ContainsFunc(s.group, func(m member) bool {
		return m.inode == at && m.gen != 0 && (s.serves(m.gen) || m.gen == s.canary.gen)
	})
}

// verifyIndex checks that a listener of ours has its recorded index, and otherwise measures all. If
// it cannot check, it relies on the count.
func (s *steer) verifyIndex(fd int) error {
	i := s.index(fd)
	if i < 0 {
		return nil // a worker has shut it down
	}
	inode := s.group[i].inode
	at, err := s.traceSYN(&i)
	if err != nil {
		return nil //nolint:nilerr // the count has to do
	}
	if at != inode {
		if err := errors.Join(s.survey(), s.remeasure()); err != nil {
			return err
		}
		if i = s.index(fd); i < 0 {
			return nil
		}
		if at, err = s.traceSYN(&i); err == nil && at != inode {
			return fmt.Errorf("a connection to %s does not reach the listener that it is sent to: %w", s.text, errTaken)
		}
	}
	s.group[i].indexUnknown = err != nil && s.group[i].indexUnknown
	return nil
}

func (s *steer) index(fd int) int {
	return slices.IndexFunc(s.group, func(m member) bool { return m.fd == fd })
}

// traceSYN returns the inode of our listener at an index, or the one that clients reach if index is
// nil. It returns 0 for a foreign listener.
func (s *steer) traceSYN(index *int) (inode uint32, err error) {
	p, err := newSYNTracer(s, s.traceFilter)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	deadline := time.Now().Add(traceTimeout)
	if index == nil {
		return p.trace(deadline)
	}
	return p.listenerAt(*index, deadline)
}

// remeasure puts the group into the kernel's order.
func (s *steer) remeasure() error {
	indexes, err := s.measure(s.traceFilter)
	if err != nil {
		return nil //nolint:nilerr // the count has to do
	}
	s.reorder(indexes)
	return s.attach()
}

// traceFilter returns the filter with the rules of a trace before all others.
func (s *steer) traceFilter(probes []probeRule) filter {
	f := s.filter()
	f.probes = slices.Concat(probes, f.probes)
	return f
}
