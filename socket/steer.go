package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	kindSteer   = "steer"
	kindRename  = "rename"
	kindShared  = "shared"
	kindPrivate = "private"
)

// steer is the gate for TCP. Each generation has its own listener, all of them in one SO_REUSEPORT group, and a filter
// says which of them a new connection goes to.
//
// The invariant: the index of a listener that anybody is sent to never changes while it is sent to, whatever other processes
// of our user do with listeners of theirs on this address. When one leaves, the kernel moves the last one into its place.
// So before one of ours leaves, a spare is appended, and that is what moves; and as many spares stand at the end as there are
// listeners of others, which may leave when they like. The next generation gets a spare that has moved to the front.
//
// Places are counted, and a sounding (see plumb) says whether the count is right before a generation gets its first
// connection and after each change.
type steer struct {
	text    string
	at      netip.AddrPort
	backlog int
	earlier func(pid int) bool
	dials   chan struct{} // a place for each probe that may be under way

	watch *watch // tells when a worker shuts a listener down

	mu      sync.Mutex
	group   group
	deaf    group // listeners of ours that a worker has shut down, and so taken out of the group
	live    int
	beside  []int // generations that get as many connections as live does
	adopted bool  // listeners of an earlier daemon were adopted, and the filter is still the one that it left
	sent    []int // places to which an earlier daemon has sent everybody, until the first cutover
	canary  canary
	probes  map[netip.AddrPort]int // source of a probe -> the generation that it asks for
	thieves []tcpSocket            // listeners of others which get connections that are meant for this address
}

type canary struct {
	gen, share int
	networks   []netip.Prefix
}

func newSteer(o *Options, at netip.AddrPort) *steer {
	return &steer{
		text: o.Address.text, at: at, backlog: o.Backlog, earlier: o.Earlier,
		dials: make(chan struct{}, maxDials), probes: map[netip.AddrPort]int{}, watch: newWatch(""),
	}
}

func (s *steer) Kind() string    { return kindSteer }
func (s *steer) Address() string { return s.text }

func (s *steer) Stage(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayStage(gen); err != nil {
		return err
	}
	if err := s.stage(gen); err != nil {
		return errors.Join(fmt.Errorf("stage generation %d: %w", gen, err), s.trim())
	}
	return nil
}

// stage gives the generation a spare, once a sounding has found it where it is thought to be. Clients are sent to it from the
// start when nobody is live.
func (s *steer) stage(gen int) error {
	if err := s.survey(); err != nil {
		return err
	}
	fd, err := s.spare()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.group, func(m member) bool { return m.fd == fd })
	s.group[i].gen = gen
	if err := s.attach(); err != nil {
		s.group[i].gen = 0
		return err
	}
	return s.pad()
}

// spare is the descriptor of a spare whose place is known.
func (s *steer) spare() (fd int, err error) {
	for range stageTries {
		i := s.group.free()
		if i < 0 {
			if err := s.addSpare(); err != nil {
				return -1, err
			}
			if err := s.survey(); err != nil {
				return -1, err
			}
			i = len(s.group) - 1
			if !s.group[i].spare() {
				i = s.group.free()
			}
		}
		if len(s.group) == 1 {
			return s.group[i].fd, nil // no other place
		}
		fd = s.group[i].fd
		if err = s.place(fd); err == nil {
			return fd, nil
		}
	}
	return -1, err
}

func (s *steer) mayStage(gen int) error {
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
		if err := s.ascertain(gen); err != nil {
			return err
		}
	}
	gen := gens[0]
	live, beside, part := s.live, s.beside, s.canary
	s.live, s.beside, s.sent = gen, slices.Clone(gens[1:]), nil
	if slices.Contains(gens, part.gen) {
		s.canary = canary{}
	}
	if err := s.attach(); err != nil {
		s.live, s.beside, s.canary = live, beside, part
		return fmt.Errorf("cut over to generation %d: %w", gen, err)
	}
	if s.adopted {
		// The places of what was adopted are those that an earlier daemon knew; who has come and gone since is found out now.
		if err := errors.Join(s.survey(), s.remeasure()); err != nil {
			return err
		}
		s.adopted = false
	}
	return s.pad()
}

func (s *steer) Canary(gen, share int, networks []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	if share == 0 && len(networks) == 0 {
		// The end of one must not fail for anything that has happened to the generation meanwhile.
		if s.canary.gen == gen {
			s.canary = canary{}
		}
		return s.attach()
	}
	if err := s.ascertain(gen); err != nil {
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

// Relisten brings a listener back that a worker has shut down. It joins the group as the last one.
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
	i := s.deaf.find(gen)
	if i < 0 {
		return relisten(m.fd, s.backlog)
	}
	if err := relisten(m.fd, s.backlog); err != nil {
		return err
	}
	s.deaf = slices.Delete(s.deaf, i, i+1)
	s.group = append(s.group, member{gen: gen, fd: m.fd, inode: m.inode})
	return errors.Join(fmt.Errorf("a worker of generation %d had shut down the listener that it shares with others; it listens again", gen), s.attach(), s.pad())
}

// Close takes the listener out of the group by shutdown, not only by closing our descriptor: a process that still has a
// copy would otherwise keep it there, and take it out unseen, with all indexes, when it ends.
func (s *steer) Close(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.survey() // with a stranger that is not seen the places stay, too
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
	err = errors.Join(s.leave(gen), s.attach(), s.survey(), s.pad())
	if queued > 0 {
		err = errors.Join(err, fmt.Errorf("%d connections were still queued for generation %d, and are reset", queued, gen))
	}
	return err
}

// serves tells whether new connections reach a generation.
func (s *steer) serves(gen int) bool { return gen == s.live || slices.Contains(s.beside, gen) }

// withdraw takes a generation out of those that serve.
func (s *steer) withdraw(gen int) {
	s.beside = slices.DeleteFunc(s.beside, func(other int) bool { return other == gen })
	if s.live != gen {
		return
	}
	s.live = 0
	if len(s.beside) > 0 {
		s.live, s.beside = s.beside[0], s.beside[1:]
	}
}

// leave takes a generation's listener out of the group, so that nobody else's place changes.
func (s *steer) leave(gen int) error {
	if i := s.deaf.find(gen); i >= 0 {
		m := s.deaf[i]
		s.deaf = slices.Delete(s.deaf, i, i+1)
		s.watch.remove(m.fd)
		return closeListener(m.fd)
	}
	err := s.keepPlaces(gen)
	return errors.Join(err, s.drop(s.group.find(gen)))
}

// keepPlaces appends a spare when another listener would be moved by the leaving of gen's.
func (s *steer) keepPlaces(gen int) error {
	i, last := s.group.find(gen), len(s.group)-1
	if s.group[last].spare() || i == last && s.group.count(member.foreign) == 0 {
		return nil
	}
	if s.group.count(func(m member) bool { return m.gen != 0 }) < 2 {
		return nil // no generation is left that could be moved
	}
	return s.addSpare()
}

// drop takes the member at i out of the group.
func (s *steer) drop(i int) error {
	m := s.group[i]
	s.group = s.group.leave(i)
	s.watch.remove(m.fd)
	// ENOTCONN: a worker has shut it down this very moment.
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

// addSpare appends a listener that nobody is sent to.
func (s *steer) addSpare() error {
	fd, err := listenTCP(s.at, s.backlog)
	if err != nil {
		return err
	}
	number, err := inode(fd)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	s.group = append(s.group, member{fd: fd, inode: number})
	s.watch.add(fd)
	if len(s.group) == 1 {
		return s.attach()
	}
	return nil
}

// pad keeps as many spares at the end as there are listeners of others. Those may leave at any moment without our knowing:
// then a spare moves into their place and not the live listener. While one of an earlier daemon is live there must be none,
// for what moves into the live place then gets its connections.
func (s *steer) pad() error {
	for s.live != 0 && s.group.trailing() < s.group.count(member.foreign) {
		if err := s.addSpare(); err != nil {
			return err
		}
	}
	return s.trim()
}

// trim gives up the spares that keep no place.
func (s *steer) trim() (err error) {
	for s.group.trailing() > s.group.count(member.foreign) {
		err = errors.Join(err, s.drop(len(s.group)-1))
	}
	if slices.ContainsFunc(s.group, func(m member) bool { return m.gen != 0 }) {
		return err
	}
	// No generation is left that could be moved.
	for i := len(s.group) - 1; i >= 0; i-- {
		if s.group[i].spare() {
			err = errors.Join(err, s.drop(i))
		}
	}
	if len(s.group) == 1 {
		s.group[0].unsure = false
	}
	return err
}

// attach makes the filter say what is wanted. It follows each change.
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
		for _, gen := range s.beside {
			if i := s.group.find(gen); i >= 0 {
				f.spread = append(f.spread, i)
			}
		}
		if len(f.spread) > 0 {
			f.spread = append(f.spread, f.live)
		}
	case len(s.sent) > 0 && slices.Max(s.sent) < len(s.group):
		f.live, f.spread = s.sent[0], s.sent
	case s.group.count(member.earlier) > 0:
		f.live, f.among = s.group.span()
	default:
		// Nobody is live, as at the first start, or when a generation has to be gone before the next one boots. There is
		// nobody to protect: connections wait in the queue of the generation that boots, instead of being refused.
		f.live = max(0, s.group.newest())
	}
	for source, gen := range s.probes {
		f.probes = append(f.probes, probeRule{source, s.group.find(gen)})
	}
	return f
}

// member is the listener of a generation.
func (s *steer) member(gen int) (member, error) {
	if i := s.group.find(gen); i >= 0 {
		return s.group[i], nil
	}
	if i := s.deaf.find(gen); i >= 0 {
		return s.deaf[i], nil
	}
	return member{fd: -1}, fmt.Errorf("generation %d has no listener on %s", gen, s.at)
}

// ascertain is placed, after a place that is not known has been looked for.
func (s *steer) ascertain(gen int) error {
	if i := s.group.find(gen); i >= 0 && s.group[i].unsure {
		if err := s.place(s.group[i].fd); err != nil {
			return err
		}
	}
	return s.placed(gen)
}

// placed says whether we can send connections to a generation's listener.
func (s *steer) placed(gen int) error {
	m, err := s.member(gen)
	switch {
	case err != nil:
		return err
	case s.deaf.find(gen) >= 0:
		return fmt.Errorf("a worker of generation %d has shut down its listener on %s", gen, s.at)
	case m.unsure:
		return fmt.Errorf("other listeners left %s while generation %d was staged, and its place is not known: stage it again", s.at, gen)
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
