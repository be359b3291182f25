package socket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	stageTries = 3 // spares that are tried before staging fails
	// soundTime bounds one sounding, which takes some microseconds: the caller waits for it with the gate's lock.
	soundTime = 200 * time.Millisecond
)

// Verify finds out by soundings whether a generation's listener is where the filter sends, and, of one that is live, whether
// clients get there. What is not where it was thought to be is looked for, and the filter is set right. The error says that
// somebody else gets the connections.
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
	if s.deaf.find(gen) < 0 {
		err = s.place(m.fd)
	}
	if err == nil && s.serves(gen) {
		err = s.admits()
	}
	return errors.Join(err, s.pad())
}

// admits finds out whether clients get to one of the listeners that they are sent to.
func (s *steer) admits() error {
	if s.reached() {
		return nil
	}
	if err := s.remeasure(); err != nil {
		return err
	}
	if s.reached() {
		return nil
	}
	return fmt.Errorf("connections to %s do not reach generation %d: %w", s.text, s.live, errTaken)
}

var errTaken = errors.New("another listener or a firewall rule takes them")

// reached reports whether a SYN that nothing is known of reaches a listener that clients are sent to.
func (s *steer) reached() bool {
	at, err := s.sound(nil)
	return err != nil || slices.ContainsFunc(s.group, func(m member) bool {
		return m.inode == at && m.gen != 0 && (s.serves(m.gen) || m.gen == s.canary.gen)
	})
}

// place finds out whether a listener of ours has the index that it is thought to have; if not, all are measured. Where nothing
// can be found out the count has to do.
func (s *steer) place(fd int) error {
	i := s.index(fd)
	if i < 0 {
		return nil // a worker has shut it down meanwhile
	}
	inode := s.group[i].inode
	at, err := s.sound(&i)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if at != inode {
		if err := errors.Join(s.survey(), s.remeasure()); err != nil {
			return err
		}
		if i = s.index(fd); i < 0 {
			return nil
		}
		if at, err = s.sound(&i); err == nil && at != inode {
			return fmt.Errorf("a connection to %s does not reach the listener that it is sent to: %w", s.text, errTaken)
		}
	}
	s.group[i].unsure = err != nil && s.group[i].unsure
	return nil
}

func (s *steer) index(fd int) int {
	return slices.IndexFunc(s.group, func(m member) bool { return m.fd == fd })
}

// sound returns the inode of our listener at an index, or where clients get, 0 when it is another's.
func (s *steer) sound(index *int) (inode uint32, err error) {
	p, err := newPlumb(s, s.sounding)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	deadline := time.Now().Add(soundTime)
	if index == nil {
		return p.sound(deadline)
	}
	return p.at(*index, deadline)
}

// remeasure puts the group into the order that the kernel has it in.
func (s *steer) remeasure() error {
	places, err := s.measure(s.sounding)
	if err != nil {
		return nil //nolint:nilerr // the count has to do
	}
	s.arrange(places)
	return s.attach()
}

// sounding is the filter with the rule of a sounding before all others.
func (s *steer) sounding(probes []probeRule) filter {
	f := s.filter()
	f.probes = slices.Concat(probes, f.probes)
	return f
}
