package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// This file looks for other processes that listen on our address. With SO_REUSEPORT the kernel lets
// any process of our user join the group silently and get a share of the connections, so the gate
// must check before it binds.

// survey looks for listeners that are not ours. Before the first of ours is added, it takes those
// of an earlier daemon into the group, and any other is an error. Later it records new ones: the
// filter sends them no connections, and the spares protect the indexes.
func (s *steer) survey() error {
	s.recount()
	list, err := overlapping(s.at)
	if err != nil {
		return nil //nolint:nilerr // without sock_diag we are blind, and bind is what is left to find out
	}
	known := map[uint32]bool{}
	for _, m := range s.group {
		known[m.inode] = true
	}
	for _, m := range s.shutDown {
		known[m.inode] = true
	}
	if len(s.group) == 0 {
		return s.firstSurvey(known)
	}
	s.hijackers = nil
	var joined []uint32
	for _, l := range list {
		switch {
		case known[l.inode]:
		case same(l, s.at):
			joined = append(joined, l.inode)
		default:
			s.hijackers = append(s.hijackers, l)
		}
	}
	for _, number := range joined {
		s.group = append(s.group, member{fd: -1, inode: number, stranger: true, indexUnknown: len(joined) > 1})
	}
	return nil
}

func (s *steer) firstSurvey(known map[uint32]bool) error {
	found, err := foreignListeners(s.at, s.text, known, s.earlierListener)
	for _, number := range found {
		s.group = append(s.group, member{fd: -1, inode: number, indexUnknown: len(found) > 1})
	}
	return err
}

// recount removes the listeners that have left on their own: foreign ones, and ours that a worker
// has shut down. If several have left, their order is unknown, and so are the indexes to which the
// kernel moved others.
func (s *steer) recount() {
	there := map[uint32]bool{}
	blind := true
	if s.group.count(member.foreign) > 0 {
		list, err := listeners(s.at)
		for _, l := range list {
			there[l.inode] = true
		}
		blind = err != nil
	}
	gone := func(m member) bool {
		if m.foreign() {
			return !blind && !there[m.inode]
		}
		return !listens(m.fd)
	}
	several := s.group.count(gone) > 1
	for i := 0; i < len(s.group); {
		m := s.group[i]
		if !gone(m) {
			i++
			continue
		}
		s.group[i].indexUnknown = m.indexUnknown || several
		s.group = s.group.leave(i)
		switch {
		case m.foreign():
		case m.spare():
			s.watch.remove(m.fd)
			_ = unix.Close(m.fd) // a spare without an index is useless
		default:
			s.shutDown = append(s.shutDown, m)
		}
	}
}

// Strangers returns a sentence for each other process that listens on this address: its name, and
// what it does.
func (s *steer) Strangers() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.survey() != nil {
		return nil
	}
	s.mu.Unlock() // holders reads all of /proc
	defer s.mu.Lock()
	say := func(inode, uid uint32, format string) {
		who := inUse(s.text, uid, holders(map[uint32]bool{inode: true})[inode]).who
		list = append(list, fmt.Sprintf(format, who, s.text))
	}
	for _, m := range s.group {
		if m.stranger {
			say(m.inode, uint32(unix.Geteuid()), "%s listens on %s too; it gets no connections: stop it")
		}
	}
	for _, l := range s.hijackers {
		say(l.inode, l.uid, "%s takes connections that are meant for %s: stop it")
	}
	return list
}

// Foreign returns how many listeners of an earlier daemon are still in the group.
func (s *steer) Foreign() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	return s.group.count(member.earlier)
}

// Adopt appends the listener of an earlier daemon. Only its index can be wrong, and Locate corrects
// that.
func (s *steer) Adopt(gen, fd int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.adoptable(gen, fd)
	if err != nil {
		return errors.Join(fmt.Errorf("adopt the listener of generation %d: %w", gen, err), unix.Close(fd))
	}
	s.group, s.adopted = append(s.group, m), true
	s.watch.add(fd)
	return nil
}

func (s *steer) adoptable(gen, fd int) (member, error) {
	unix.CloseOnExec(fd)
	if _, err := s.member(gen); err == nil {
		return member{}, errors.New("it has one already")
	}
	at, err := boundTo(fd)
	switch {
	case err != nil:
		return member{}, err
	case at.Addr() != s.at.Addr().WithZone("") || at.Port() != s.at.Port():
		return member{}, fmt.Errorf("it is bound to %s, not to %s", at, s.at)
	case !listens(fd):
		return member{}, errors.New("it does not listen any more")
	}
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT); err != nil || on == 0 {
		return member{}, errors.New("it was bound without SO_REUSEPORT")
	}
	number, err := inode(fd)
	return member{gen: gen, fd: fd, inode: number}, err
}

// Members returns the group in order, including spares.
func (s *steer) Members() (list []Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range slices.Concat(s.group, s.shutDown) {
		if !m.foreign() {
			list = append(list, Member{Gen: m.gen, FD: m.fd})
		}
	}
	return list
}

// foreignListeners returns the listeners on an address that only processes of an earlier daemon
// hold, except for known ones. Any other listener on the address, or on one that overlaps, is an
// error that names its owner.
func foreignListeners(
	at netip.AddrPort, text string, known map[uint32]bool, earlier func(tcpSocket, []holder) bool,
) (foreign []uint32, err error) {
	list, err := overlapping(at)
	if err != nil {
		// Without sock_diag only bind can find out.
		return nil, nil //nolint:nilerr // only bind can find out
	}
	strange := map[uint32]bool{}
	for _, l := range list {
		if !known[l.inode] {
			strange[l.inode] = true
		}
	}
	if len(strange) == 0 {
		return nil, nil
	}
	who := holders(strange)
	for _, l := range list {
		if known[l.inode] {
			continue
		}
		if !earlier(l, who[l.inode]) {
			return nil, inUse(text, l.uid, who[l.inode])
		}
		if same(l, at) {
			foreign = append(foreign, l.inode)
		}
	}
	return foreign, nil
}

// earlierListener reports whether a listener that these processes hold is foreign: of an earlier
// daemon, or of the server that the app replaces.
func (s *steer) earlierListener(l tcpSocket, who []holder) bool {
	return s.replaces(l.cookie) || heldByEarlier(who, s.earlier)
}

// knownByHolders returns a function for foreignListeners that knows a listener by the processes that hold
// it.
func knownByHolders(earlier func(pid int) bool) func(tcpSocket, []holder) bool {
	return func(_ tcpSocket, who []holder) bool { return heldByEarlier(who, earlier) }
}

func heldByEarlier(who []holder, earlier func(int) bool) bool {
	for _, h := range who {
		if earlier == nil || !earlier(h.pid) {
			return false
		}
	}
	return len(who) > 0
}

// listeners returns all listeners on exactly this address: the members of its group.
func listeners(at netip.AddrPort) (list []tcpSocket, err error) {
	all, err := overlapping(at)
	for _, l := range all {
		if same(l, at) {
			list = append(list, l)
		}
	}
	return list, err
}

// overlapping returns all listeners that get, or would get, connections to an address covered by
// at.
func overlapping(at netip.AddrPort) (list []tcpSocket, err error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		all, err := tcpSockets(family, at.Port(), tcpListen)
		if err != nil {
			return nil, err
		}
		for _, l := range all {
			if overlap(l, at.Addr()) {
				list = append(list, l)
			}
		}
	}
	return list, nil
}

func same(l tcpSocket, at netip.AddrPort) bool {
	return l.iface == 0 == (at.Addr().Zone() == "") && l.local == netip.AddrPortFrom(at.Addr().WithZone(""), at.Port())
}

func overlap(l tcpSocket, ip netip.Addr) bool {
	there := l.local.Addr()
	either := func(wildcard netip.Addr, only6 bool, other netip.Addr) bool {
		return wildcard.IsUnspecified() && (wildcard.Is6() == other.Is6() || wildcard.Is6() && !only6)
	}
	return there == ip.WithZone("") || either(there, l.only6, ip) || either(ip, false, there)
}
