package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A daemon that takes over a group does not trust the order that an earlier daemon recorded: it
// measures the order. For each index it makes the filter send one source address and port there,
// and sends a SYN from that source. Every listener has a socket filter that drops this SYN, so that
// no worker sees it, and counts the drop (sk_drops). The listener whose counter moved has that
// index.

const (
	// locateTimeout bounds the measurement of a whole group. One index takes some microseconds on
	// the loopback device.
	locateTimeout = 2 * time.Second
	// synTimeout is how long one SYN to this machine's own address may take: another CPU may have
	// to process it (RPS).
	synTimeout = 20 * time.Millisecond
	// maxLostSYNs is how many SYNs to one index may get lost.
	maxLostSYNs = 3
	// passAll is the verdict of a socket filter that keeps the whole packet.
	passAll = math.MaxUint32
)

var errNotMeasured = errors.New("the order of the listeners cannot be measured")

// Locate finds out the index of each adopted listener in the group. Until the first cutover,
// connections keep going where the earlier daemon sent them: to the indexes earlierLive of its own
// listeners, in its order. Listeners on the address that were not adopted keep their indexes as foreign members, and
// leave when their processes end.
//
// A listener whose index stays unknown cannot be cut over to. A listener that is staged later can.
//
// The measurement may not be permitted: since some kernel, only CAP_NET_ADMIN may attach a filter to
// a TCP socket. Then the earlier daemon's order counts, unless others may have joined in between.
// The listeners of a server that the app replaces have not: they were there before all of ours.
func (s *steer) Locate(earlierLive []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := listeners(s.at)
	if err != nil {
		return nil // without sock_diag only the earlier daemon's order is known; Spread still surveys
	}
	replaced, unplaced, strangers := s.addForeign(list)
	earlierLive = slices.Clone(earlierLive)
	for i := range earlierLive {
		earlierLive[i] += replaced
	}
	s.adopted, s.earlierLive = false, earlierLive
	if len(s.group) == s.group.count(member.foreign) || len(s.group) == 1 {
		for i := range s.group {
			s.group[i].indexUnknown = len(s.group) > 1
		}
		return strangers
	}
	others := filter{live: max(0, s.group.newest())} // as the earlier daemon's filter, if none was live
	switch {
	case len(earlierLive) > 0:
		others.live = earlierLive[0]
	case replaced > 0:
		others = filter{liveCount: replaced}
	}
	if len(earlierLive) > 1 {
		others.spread = earlierLive
	}
	indexes, err := s.measure(func(probes []probeRule) filter { others.probes = probes; return others })
	if err != nil && unplaced == 0 {
		return strangers // keep the order that the earlier daemon recorded
	}
	s.reorder(indexes)
	return errors.Join(strangers, err)
}

// addForeign adds the other listeners of the address. It returns how many of them are of a server
// that the app replaces, and first in the group; how many have an unknown place; and an error for
// each that no earlier daemon made.
func (s *steer) addForeign(list []tcpSocket) (replaced, unplaced int, strangers error) {
	others := make(map[uint32]bool)
	for _, l := range list {
		if !slices.ContainsFunc(s.group, func(m member) bool { return m.inode == l.inode }) {
			others[l.inode] = true
		}
	}
	if len(others) == 0 {
		return 0, 0, nil
	}
	who := holders(others)
	for _, l := range list {
		if !others[l.inode] {
			continue
		}
		if s.replaces(l.cookie) {
			s.group = slices.Insert(s.group, 0, member{fd: -1, inode: l.inode})
			replaced++
			continue
		}
		unplaced++
		theirs := !s.earlierListener(l, who[l.inode])
		s.group = append(s.group, member{fd: -1, inode: l.inode, stranger: theirs})
		if theirs {
			strangers = errors.Join(strangers, inUse(s.text, l.uid, who[l.inode]))
		}
	}
	return replaced, unplaced, strangers
}

// reorder puts the group into the measured order. indexes has the inode of the listener at each
// index, and 0 for an index with a foreign one. Listeners that were not found get the remaining
// indexes in an unknown order.
func (s *steer) reorder(indexes []uint32) {
	var lost group
	for _, m := range s.group {
		if m.foreign() || !slices.Contains(indexes, m.inode) {
			lost = append(lost, m)
		}
	}
	for i := range lost {
		lost[i].indexUnknown = len(lost) > 1
	}
	ordered := make(group, 0, len(s.group))
	for i := range s.group {
		at := -1
		if i < len(indexes) && indexes[i] != 0 {
			at = slices.IndexFunc(s.group, func(m member) bool { return m.inode == indexes[i] })
		}
		if at >= 0 {
			ordered = append(ordered, s.group[at])
			ordered[i].indexUnknown = false
			continue
		}
		ordered, lost = append(ordered, lost[0]), lost[1:]
	}
	s.group = ordered
}

// measure returns the inode of our listener at each index, and 0 for an index with a foreign one.
// program returns the filter to use meanwhile.
func (s *steer) measure(program func(probes []probeRule) filter) (indexes []uint32, err error) {
	p, err := newSYNTracer(s, program)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	deadline := time.Now().Add(locateTimeout)
	indexes = make([]uint32, len(s.group))
	found := 0
	for i := range indexes {
		if indexes[i], err = p.listenerAt(i, deadline); err != nil {
			return nil, err
		}
		if indexes[i] == 0 {
			continue
		}
		if slices.Contains(indexes[:i], indexes[i]) {
			return nil, fmt.Errorf("%w: two indexes of %s answer as one listener", errNotMeasured, s.text)
		}
		found++
	}
	if found+s.group.count(member.foreign) != len(s.group) {
		return nil, fmt.Errorf("%w: %d of the %d listeners on %s that are held answer", errNotMeasured, found,
			len(s.group)-s.group.count(member.foreign), s.text)
	}
	return indexes, nil
}

// synTracer sends SYNs to the members of a group and finds out which member gets them.
type synTracer struct {
	s       *steer
	program func(probes []probeRule) filter // returns the filter to use meanwhile, with these rules
	target  netip.AddrPort                  // destination of the SYNs
	source  netip.AddrPort                  // source of the SYNs
	holder  int                             // a socket that reserves the source
}

func newSYNTracer(s *steer, program func(probes []probeRule) filter) (*synTracer, error) {
	p := &synTracer{s: s, program: program, holder: -1}
	var err error
	for _, p.target = range dialTargets(s.at) {
		if p.holder, p.source, err = synSocket(netip.AddrPortFrom(p.target.Addr(), 0)); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotMeasured, err)
	}
	drop, err := assemble(filter{live: passAll, probes: []probeRule{{p.source, 0}}})
	for _, m := range s.group {
		if err == nil && !m.foreign() {
			err = unix.SetsockoptSockFprog(m.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &drop)
		}
	}
	if err != nil {
		return nil, errors.Join(errNotMeasured, err, p.end())
	}
	return p, nil
}

// synSocket returns a socket that can send SYNs from an address. Several sockets may share one
// source.
func synSocket(from netip.AddrPort) (fd int, source netip.AddrPort, err error) {
	if fd, err = tcpSocketAt(from); err != nil {
		return -1, source, err
	}
	// A SYN that connects to a foreign listener must not leave the source in TIME_WAIT.
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err == nil {
		source, err = boundTo(fd)
	}
	if err != nil {
		return -1, source, errors.Join(err, unix.Close(fd))
	}
	return fd, netip.AddrPortFrom(from.Addr(), source.Port()), nil
}

// end removes the socket filters, and restores the filter of the group.
func (p *synTracer) end() (err error) {
	for _, m := range p.s.group {
		if m.foreign() {
			continue
		}
		if bad := unix.SetsockoptInt(m.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); bad != nil &&
			!errors.Is(bad, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("detach filter: %w", bad))
		}
	}
	return errors.Join(err, p.attach(nil), unix.Close(p.holder))
}

func (p *synTracer) attach(probes []probeRule) error {
	for _, m := range p.s.group {
		if !m.foreign() {
			return p.program(probes).attach(m.fd)
		}
	}
	return errNotMeasured
}

// listenerAt returns the inode of our listener at an index, or 0 for a foreign one.
func (p *synTracer) listenerAt(index int, deadline time.Time) (uint32, error) {
	if err := p.attach([]probeRule{{p.source, index}}); err != nil {
		return 0, err
	}
	return p.trace(deadline)
}

// trace returns the inode of our listener that a SYN reaches, or 0 for a foreign one. A listener
// whose accept queue overflows counts drops too. So a result counts only if exactly one counter
// moved; otherwise trace repeats with those that moved.
func (p *synTracer) trace(deadline time.Time) (uint32, error) {
	candidates := slices.DeleteFunc(slices.Clone(p.s.group), member.foreign)
	for silent := 0; silent < maxLostSYNs && time.Now().Before(deadline); {
		hit, answered, err := p.send(candidates)
		switch {
		case err != nil:
			return 0, err
		case answered:
			return 0, nil
		case len(hit) == 1:
			return hit[0].inode, nil
		case len(hit) > 1:
			candidates = hit
		default:
			silent++
		}
	}
	return 0, fmt.Errorf("%w: no test SYN arrived in time", errNotMeasured)
}

// send sends one SYN, and returns the candidates whose drop counter moved. An answered SYN has
// reached a foreign listener.
func (p *synTracer) send(candidates group) (hit group, answered bool, err error) {
	before := make([]uint32, len(candidates))
	for i, m := range candidates {
		before[i] = drops(m.fd)
	}
	fd, _, err := synSocket(p.source)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", errNotMeasured, err)
	}
	defer func() { _ = unix.Close(fd) }()
	sa, err := sockaddr(p.target)
	if err != nil {
		return nil, false, err
	}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, false, fmt.Errorf("%w: connect to %s: %w", errNotMeasured, p.target, err)
	}
	for began := time.Now(); ; {
		for i, m := range candidates {
			if drops(m.fd) != before[i] {
				hit = append(hit, m)
			}
		}
		if len(hit) > 0 || time.Since(began) > synTimeout {
			return hit, false, nil
		}
		// Poll briefly: the kernel has no event for a dropped packet.
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(ready, 1); err == nil && n > 0 {
			return nil, true, nil
		}
	}
}

// drops returns how many packets a socket has dropped: sk_drops, the last of the nine counters of
// SO_MEMINFO (sock_diag.h).
func drops(fd int) uint32 {
	const vars, memDrops = 9, 8
	var info [4 * vars]byte
	size := uint32(len(info))
	_, _, no := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if no != 0 || size != uint32(len(info)) {
		return 0
	}
	return binary.NativeEndian.Uint32(info[4*memDrops:])
}

// assemble translates a filter into the kernel's form.
func assemble(f filter) (unix.SockFprog, error) {
	ins, err := f.program()
	if err != nil {
		return unix.SockFprog{}, err
	}
	raw, err := bpf.Assemble(ins)
	if err != nil {
		return unix.SockFprog{}, fmt.Errorf("assemble filter: %w", err)
	}
	prog := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		prog[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}, nil
}
