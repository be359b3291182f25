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

// A daemon that takes over a group does not have to believe what an earlier one has written down about its order: it
// measures it. For each place of the group it makes the filter send one source address and port there, and sends a SYN
// from it. Every listener has a socket filter that drops just this SYN, so that no worker sees it, and counts the drop
// (sk_drops): the listener whose counter has moved is the one at that place.

const (
	// locateTime bounds the measurement of a whole group. One place takes some microseconds on the loopback device.
	locateTime = 2 * time.Second
	// synTime is how long one SYN to this machine's own address may take: another CPU may have to handle it (RPS).
	synTime = 20 * time.Millisecond
	// silentSYNs is how many SYNs may get lost on their way to one place.
	silentSYNs = 3
	// passAll is the verdict of a socket filter that keeps the whole packet.
	passAll = math.MaxUint32
)

var errNotMeasured = errors.New("the order of the listeners cannot be measured")

// Locate finds out at which place of the group each adopted listener is. Until then, connections go on to where the
// earlier daemon has sent them: to the places sent, in the order of its own list. Listeners on the address that were not
// adopted keep their places in the group as foreign ones, and leave when their processes end.
//
// A listener whose place is not known after all cannot be cut over to; one that is staged from now on can.
func (s *steer) Locate(sent []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := listeners(s.at)
	if err != nil {
		return nil // without sock_diag the order of the earlier daemon is all there is; Spread surveys as ever
	}
	strangers := s.addForeign(list)
	s.adopted, s.sent = false, slices.Clone(sent)
	if len(s.group) == s.group.count(member.foreign) || len(s.group) == 1 {
		for i := range s.group {
			s.group[i].unsure = len(s.group) > 1
		}
		return strangers
	}
	others := filter{}
	if len(sent) > 0 {
		others.live = sent[0]
	}
	if len(sent) > 1 {
		others.spread = sent
	}
	places, err := s.measure(func(probes []probeRule) filter { others.probes = probes; return others })
	if err != nil && s.group.count(member.foreign) == 0 {
		return strangers // as the earlier daemon has written it down
	}
	s.arrange(places)
	return errors.Join(strangers, err)
}

// addForeign appends the listeners of the address that are not ours, and reports those that no earlier daemon has made.
func (s *steer) addForeign(list []tcpSocket) (strangers error) {
	others := make(map[uint32]bool)
	for _, l := range list {
		if !slices.ContainsFunc(s.group, func(m member) bool { return m.inode == l.inode }) {
			others[l.inode] = true
		}
	}
	if len(others) == 0 {
		return nil
	}
	who := holders(others)
	for _, l := range list {
		if !others[l.inode] {
			continue
		}
		theirs := !allEarlier(who[l.inode], s.earlier)
		s.group = append(s.group, member{fd: -1, inode: l.inode, stranger: theirs})
		if theirs {
			strangers = errors.Join(strangers, inUse(s.text, l.uid, who[l.inode]))
		}
	}
	return strangers
}

// arrange puts the group into the measured order: places has the inode of the listener at each place, 0 where it is none
// of ours. Those that were not found are at the places that are left, in an order that nobody knows.
func (s *steer) arrange(places []uint32) {
	var lost group
	for _, m := range s.group {
		if m.foreign() || !slices.Contains(places, m.inode) {
			lost = append(lost, m)
		}
	}
	for i := range lost {
		lost[i].unsure = len(lost) > 1
	}
	ordered := make(group, 0, len(s.group))
	for i := range s.group {
		at := -1
		if i < len(places) && places[i] != 0 {
			at = slices.IndexFunc(s.group, func(m member) bool { return m.inode == places[i] })
		}
		if at >= 0 {
			ordered = append(ordered, s.group[at])
			ordered[i].unsure = false
			continue
		}
		ordered, lost = append(ordered, lost[0]), lost[1:]
	}
	s.group = ordered
}

// measure returns the inode of our listener at each place, 0 where there is none of ours. program is the filter meanwhile.
func (s *steer) measure(program func(probes []probeRule) filter) (places []uint32, err error) {
	p, err := newPlumb(s, program)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	deadline := time.Now().Add(locateTime)
	places = make([]uint32, len(s.group))
	found := 0
	for i := range places {
		if places[i], err = p.at(i, deadline); err != nil {
			return nil, err
		}
		if places[i] == 0 {
			continue
		}
		if slices.Contains(places[:i], places[i]) {
			return nil, fmt.Errorf("%w: two places of %s answer as one", errNotMeasured, s.text)
		}
		found++
	}
	if found+s.group.count(member.foreign) != len(s.group) {
		return nil, fmt.Errorf("%w: %d of the %d listeners on %s that are held answer", errNotMeasured, found, len(s.group)-s.group.count(member.foreign), s.text)
	}
	return places, nil
}

// plumb sends SYNs to the places of a group.
type plumb struct {
	s       *steer
	program func(probes []probeRule) filter // the filter, with where everybody else goes meanwhile
	door    netip.AddrPort                  // to which it sends
	source  netip.AddrPort                  // from which it sends
	holder  int                             // a socket that keeps the source
}

func newPlumb(s *steer, program func(probes []probeRule) filter) (*plumb, error) {
	p := &plumb{s: s, program: program, holder: -1}
	var err error
	for _, p.door = range frontDoors(s.at) {
		if p.holder, p.source, err = plumbSocket(netip.AddrPortFrom(p.door.Addr(), 0)); err == nil {
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

// plumbSocket makes a socket that can send SYNs from an address; several may have the same one.
func plumbSocket(from netip.AddrPort) (fd int, source netip.AddrPort, err error) {
	if fd, err = tcpSocketAt(from); err != nil {
		return -1, source, err
	}
	// One that connects to a listener of another must not keep its source in TIME_WAIT.
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err == nil {
		source, err = boundTo(fd)
	}
	if err != nil {
		return -1, source, errors.Join(err, unix.Close(fd))
	}
	return fd, netip.AddrPortFrom(from.Addr(), source.Port()), nil
}

// end leaves the group as it was found.
func (p *plumb) end() (err error) {
	for _, m := range p.s.group {
		if m.foreign() {
			continue
		}
		if bad := unix.SetsockoptInt(m.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); bad != nil && !errors.Is(bad, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("detach filter: %w", bad))
		}
	}
	return errors.Join(err, p.attach(nil), unix.Close(p.holder))
}

func (p *plumb) attach(probes []probeRule) error {
	for _, m := range p.s.group {
		if !m.foreign() {
			return p.program(probes).attach(m.fd)
		}
	}
	return errNotMeasured
}

// at returns the inode of our listener at a place, 0 when it is another's. A listener whose accept queue overflows counts
// drops too, so one answer counts only when it is the only one; the others are asked for again.
func (p *plumb) at(place int, deadline time.Time) (uint32, error) {
	if err := p.attach([]probeRule{{p.source, place}}); err != nil {
		return 0, err
	}
	return p.sound(deadline)
}

// sound returns the inode of our listener that a SYN reaches, 0 when it is another's.
func (p *plumb) sound(deadline time.Time) (uint32, error) {
	candidates := slices.DeleteFunc(slices.Clone(p.s.group), member.foreign)
	for silent := 0; silent < silentSYNs && time.Now().Before(deadline); {
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
	return 0, fmt.Errorf("%w: it takes more than %s", errNotMeasured, locateTime)
}

// send sends one SYN, and returns the candidates whose count of drops has moved. A SYN that is answered has reached a
// listener that is not ours.
func (p *plumb) send(candidates group) (hit group, answered bool, err error) {
	before := make([]uint32, len(candidates))
	for i, m := range candidates {
		before[i] = drops(m.fd)
	}
	fd, _, err := plumbSocket(p.source)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", errNotMeasured, err)
	}
	defer func() { _ = unix.Close(fd) }()
	sa, err := sockaddr(p.door)
	if err != nil {
		return nil, false, err
	}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, false, fmt.Errorf("%w: connect to %s: %w", errNotMeasured, p.door, err)
	}
	for began := time.Now(); ; {
		for i, m := range candidates {
			if drops(m.fd) != before[i] {
				hit = append(hit, m)
			}
		}
		if len(hit) > 0 || time.Since(began) > synTime {
			return hit, false, nil
		}
		// The kernel has no event for a packet that it drops.
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(ready, 1); err == nil && n > 0 {
			return nil, true, nil
		}
	}
}

// drops is how many packets a socket has dropped: sk_drops, the last of the nine counters of SO_MEMINFO (sock_diag.h).
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

// assemble makes a program of the kernel's of a filter.
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
