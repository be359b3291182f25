package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"superctl/plain"
)

const (
	kindSteer   = "steer"
	kindRename  = "rename"
	kindShared  = "shared"
	kindPrivate = "private"
)

// steer is the gate for TCP. Each generation has its own listener. All are in one SO_REUSEPORT
// group, and a filter decides which of them gets a new connection.
//
// The invariant: the index of a listener does not change while connections are sent to it, whatever
// other processes of our user do with their listeners on this address. When a listener leaves, the
// kernel moves the last one to its index. So steer appends a spare before one of ours leaves, and
// the kernel moves the spare. It also keeps as many spares at the end as there are foreign
// listeners, which may leave at any time. The next generation gets a spare that has moved to the
// front.
//
// Indexes are counted. A trace (see synTracer) verifies the count before a generation gets its
// first connection and after each change.
type steer struct {
	text      string
	at        netip.AddrPort
	backlog   int
	earlier   func(pid int) bool
	replaces  func(cookie uint64) bool
	dialSlots chan struct{} // a slot for each probe that may run

	watch *watch // reports that a worker shut down a listener

	mu          sync.Mutex
	group       group
	shutDown    group // listeners of ours that a worker has shut down, which removed them from the group
	live        int
	alsoLive    []int // generations that get as many connections as live does
	adopted     bool  // an earlier daemon's listeners were adopted, and its filter is still attached
	earlierLive []int // indexes to which an earlier daemon sends connections, until the first cutover
	canary      canary
	probes      map[netip.AddrPort]int // source of a probe -> the generation that it asks for
	hijackers   []tcpSocket            // foreign listeners that get connections meant for this address
}

type canary struct {
	gen, share int
	networks   []netip.Prefix
}

func newSteer(o *Options, at netip.AddrPort) *steer {
	return &steer{
		text: o.Address.text, at: at, backlog: o.Backlog, earlier: o.Earlier, replaces: o.replaces,
		dialSlots: make(chan struct{}, maxDials), probes: map[netip.AddrPort]int{}, watch: newWatch(""),
	}
}

func (s *steer) Kind() string    { return kindSteer }
func (s *steer) Address() string { return s.text }

func (s *steer) Stage(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkStage(gen); err != nil {
		return err
	}
	if err := s.stage(gen); err != nil {
		return errors.Join(fmt.Errorf("stage generation %d: %w", gen, err), s.spares().trim())
	}
	return nil
}

// stage gives the generation a spare whose index a trace has verified. Clients reach it from the
// start if no generation is live.
func (s *steer) stage(gen int) error {
	if err := s.survey(); err != nil {
		return err
	}
	fd, err := s.spares().take()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.group, func(m member) bool { return m.fd == fd })
	s.group[i].gen = gen
	if err := s.attach(); err != nil {
		s.group[i].gen = 0
		return err
	}
	return s.spares().pad()
}

// spareKeeper keeps the group's spares: listeners that only reserve indexes.
type spareKeeper struct{ *steer }

func (s *steer) spares() spareKeeper { return spareKeeper{s} }

// take returns the descriptor of a spare whose index is known.
func (sk spareKeeper) take() (fd int, err error) {
	for range stageTries {
		i := sk.group.freeSpare()
		if i < 0 {
			if err := sk.add(); err != nil {
				return -1, err
			}
			if err := sk.survey(); err != nil {
				return -1, err
			}
			i = len(sk.group) - 1
			if !sk.group[i].spare() {
				i = sk.group.freeSpare()
			}
		}
		if len(sk.group) == 1 {
			return sk.group[i].fd, nil // the only member has index 0
		}
		fd = sk.group[i].fd
		if err = sk.verifyIndex(fd); err == nil {
			return fd, nil
		}
	}
	return -1, err
}

func (s *steer) checkStage(gen int) error {
	if gen <= 0 {
		return fmt.Errorf("generation %d: generations are counted from 1", gen)
	}
	if _, err := s.member(gen); err == nil {
		return fmt.Errorf("generation %d has a listener on %s already", gen, s.at)
	}
	return nil
}

func (s *steer) FD(gen int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.member(gen)
	return m.fd, err
}

func (s *steer) Live() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

func (s *steer) Cutover(gen int) error { return s.Spread([]int{gen}) }

func (s *steer) Spread(gens []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	if len(gens) == 0 {
		return errors.New("a spread over no generation")
	}
	for _, gen := range gens {
		if err := s.ensureSteerable(gen); err != nil {
			return err
		}
	}
	gen := gens[0]
	live, alsoLive, part := s.live, s.alsoLive, s.canary
	s.live, s.alsoLive, s.earlierLive = gen, slices.Clone(gens[1:]), nil
	if slices.Contains(gens, part.gen) {
		s.canary = canary{}
	}
	if err := s.attach(); err != nil {
		s.live, s.alsoLive, s.canary = live, alsoLive, part
		return fmt.Errorf("cut over to generation %d: %w", gen, err)
	}
	if s.adopted {
		// The indexes of the adopted listeners are those that the earlier daemon knew. Find out
		// which listeners have come and gone since.
		if err := errors.Join(s.survey(), s.remeasure()); err != nil {
			return err
		}
		s.adopted = false
	}
	return s.spares().pad()
}

func (s *steer) Canary(gen, share int, networks []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	if share == 0 && len(networks) == 0 {
		// Ending a canary must succeed whatever has happened to the generation meanwhile.
		if s.canary.gen == gen {
			s.canary = canary{}
		}
		return s.attach()
	}
	if err := s.ensureSteerable(gen); err != nil {
		return err
	}
	if s.serves(gen) {
		return fmt.Errorf("generation %d is live: it has all connections", gen)
	}
	before := s.canary
	s.canary = canary{gen, share, slices.Clone(networks)}
	if err := s.attach(); err != nil {
		s.canary = before
		return fmt.Errorf("canary: %w", err)
	}
	return nil
}

// Relisten restores a listener that a worker has shut down. It joins the group as the last member.
func (s *steer) Relisten(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.relisten(gen)
}

func (s *steer) relisten(gen int) error {
	s.recount()
	m, err := s.member(gen)
	if err != nil {
		return err
	}
	i := s.shutDown.find(gen)
	if i < 0 {
		return relisten(m.fd, s.backlog)
	}
	if err := relisten(m.fd, s.backlog); err != nil {
		return err
	}
	s.shutDown = slices.Delete(s.shutDown, i, i+1)
	s.group = append(s.group, member{gen: gen, fd: m.fd, inode: m.inode})
	return errors.Join(
		fmt.Errorf("a worker of generation %d had shut down the listener that it shares with others; it listens again",
			gen), s.attach(), s.spares().pad())
}

// Close removes the listener from the group by shutdown, not only by close. Another process with a
// copy of the descriptor would otherwise keep it in the group, and remove it unnoticed when that
// process ends, which would change the indexes.
func (s *steer) Close(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.survey() // the indexes do not change if a stranger is not seen
	m, err := s.member(gen)
	if err != nil {
		return err
	}
	s.withdraw(gen)
	if s.canary.gen == gen {
		s.canary = canary{}
	}
	for source, to := range s.probes {
		if to == gen {
			delete(s.probes, source)
		}
	}
	queued, _, _ := tcpQueue(m.fd)
	err = errors.Join(s.leave(gen), s.attach(), s.survey(), s.spares().pad())
	if queued > 0 {
		err = errors.Join(err,
			fmt.Errorf("%s still queued for generation %d: reset", plain.Count(queued, "connection was", "connections were"), gen))
	}
	return err
}

// serves reports whether new connections reach a generation.
func (s *steer) serves(gen int) bool { return gen == s.live || slices.Contains(s.alsoLive, gen) }

// withdraw removes a generation from those that serve.
func (s *steer) withdraw(gen int) {
	s.alsoLive = slices.DeleteFunc(s.alsoLive, func(other int) bool { return other == gen })
	if s.live != gen {
		return
	}
	s.live = 0
	if len(s.alsoLive) > 0 {
		s.live, s.alsoLive = s.alsoLive[0], s.alsoLive[1:]
	}
}

// leave removes a generation's listener from the group without changing another index.
func (s *steer) leave(gen int) error {
	if i := s.shutDown.find(gen); i >= 0 {
		m := s.shutDown[i]
		s.shutDown = slices.Delete(s.shutDown, i, i+1)
		s.watch.remove(m.fd)
		return closeListener(m.fd)
	}
	err := s.keepIndexes(gen)
	return errors.Join(err, s.drop(s.group.find(gen)))
}

// keepIndexes appends a spare if gen's leaving would move another listener.
func (s *steer) keepIndexes(gen int) error {
	i, last := s.group.find(gen), len(s.group)-1
	if s.group[last].spare() || i == last && s.group.count(member.foreign) == 0 {
		return nil
	}
	if s.group.count(func(m member) bool { return m.gen != 0 }) < 2 {
		return nil // no remaining generation could be moved
	}
	return s.spares().add()
}

// drop removes the member at i from the group.
func (s *steer) drop(i int) error {
	m := s.group[i]
	s.group = s.group.leave(i)
	s.watch.remove(m.fd)
	// ENOTCONN: a worker has just shut it down.
	if err := unix.Shutdown(m.fd, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return errors.Join(fmt.Errorf("shut down listener: %w", err), closeListener(m.fd))
	}
	return closeListener(m.fd)
}

func closeListener(fd int) error {
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close listener: %w", err)
	}
	return nil
}

// add appends a listener that gets no connections.
func (sk spareKeeper) add() error {
	if err := sk.group.checkOwner(); err != nil {
		return err
	}
	fd, err := listenTCP(sk.at, sk.backlog)
	if err != nil {
		return err
	}
	number, err := inode(fd)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	sk.group = append(sk.group, member{fd: fd, inode: number})
	sk.watch.add(fd)
	if len(sk.group) == 1 {
		return sk.attach()
	}
	return nil
}

// pad keeps as many spares at the end as there are foreign listeners. Those may leave unnoticed at
// any moment: then a spare moves to their index instead of the live listener. While an earlier
// daemon's listener is live there must be no spare, because the listener that moves to the live
// index gets its connections.
func (sk spareKeeper) pad() error {
	for sk.live != 0 && sk.group.trailingSpares() < sk.group.count(member.foreign) {
		if err := sk.add(); err != nil {
			return err
		}
	}
	return sk.trim()
}

// trim closes the spares that reserve no index.
func (sk spareKeeper) trim() (err error) {
	for sk.group.trailingSpares() > sk.group.count(member.foreign) {
		err = errors.Join(err, sk.drop(len(sk.group)-1))
	}
	if slices.ContainsFunc(sk.group, func(m member) bool { return m.gen != 0 }) {
		return err
	}
	// No remaining generation could be moved.
	for i := len(sk.group) - 1; i >= 0; i-- {
		if sk.group[i].spare() {
			err = errors.Join(err, sk.drop(i))
		}
	}
	if len(sk.group) == 1 {
		sk.group[0].indexUnknown = false
	}
	return err
}

// attach updates the kernel's filter. It must follow each change.
func (s *steer) attach() error {
	for _, m := range s.group {
		if !m.foreign() {
			return s.filter().attach(m.fd)
		}
	}
	return nil
}

func (s *steer) filter() filter {
	var f filter
	if i := s.group.find(s.canary.gen); i >= 0 {
		f.canary, f.share, f.networks = i, s.canary.share, s.canary.networks
	}
	switch {
	case s.live != 0:
		f.live = s.group.find(s.live)
		for _, gen := range s.alsoLive {
			if i := s.group.find(gen); i >= 0 {
				f.spread = append(f.spread, i)
			}
		}
		if len(f.spread) > 0 {
			f.spread = append(f.spread, f.live)
		}
	case len(s.earlierLive) > 0 && slices.Max(s.earlierLive) < len(s.group):
		f.live, f.spread = s.earlierLive[0], s.earlierLive
	case s.group.count(member.earlier) > 0:
		f.live, f.liveCount = s.group.earlierSpan()
	default:
		// No generation is live: this is the first start, or the old generation must be gone before
		// the next one boots. Connections wait in the queue of the generation that boots instead of
		// being refused.
		f.live = max(0, s.group.newest())
	}
	for source, gen := range s.probes {
		f.probes = append(f.probes, probeRule{source, s.group.find(gen)})
	}
	return f
}

// member returns the listener of a generation.
func (s *steer) member(gen int) (member, error) {
	if i := s.group.find(gen); i >= 0 {
		return s.group[i], nil
	}
	if i := s.shutDown.find(gen); i >= 0 {
		return s.shutDown[i], nil
	}
	return member{fd: -1}, fmt.Errorf("generation %d has no listener on %s", gen, s.at)
}

// ensureSteerable is checkSteerableTo, after it has looked for an unknown index.
func (s *steer) ensureSteerable(gen int) error {
	if i := s.group.find(gen); i >= 0 && s.group[i].indexUnknown {
		if err := s.verifyIndex(s.group[i].fd); err != nil {
			return err
		}
	}
	return s.checkSteerableTo(gen)
}

// checkSteerableTo returns an error unless connections can be sent to a generation's listener.
func (s *steer) checkSteerableTo(gen int) error {
	m, err := s.member(gen)
	switch {
	case err != nil:
		return err
	case s.shutDown.find(gen) >= 0:
		return fmt.Errorf("a worker of generation %d has shut down its listener on %s", gen, s.at)
	case m.indexUnknown:
		return fmt.Errorf(
			"other listeners left %s while generation %d was staged, and its index is unknown: stage it again", s.at,
			gen)
	}
	return nil
}

func (s *steer) Queue(gen int) (length, limit int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.member(gen)
	if err != nil {
		return 0, 0, err
	}
	return tcpQueue(m.fd)
}
