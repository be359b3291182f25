package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxDials is how many probes of one gate may be on their way at once; more wait for a place. They are not made to queue
// behind each other altogether, because one that hangs, on a worker whose queue is full, would hold up all others.
const maxDials = 32

// Dial goes through the front door: it connects to the public address as every client does, from a source address and port
// which the filter sends to the generation. The socket is bound first, so that nobody else can have that source, then the
// filter is told, then it connects. The rule goes as soon as the dial has ended: from then on the connection is in the
// generation's queue, and whoever has the port next is nobody special.
//
// With SYN cookies on at all times (net.ipv4.tcp_syncookies = 2) the filter is asked once more, by the ACK that ends the
// handshake. On this machine's own addresses that has been handled when connect returns.
func (s *steer) Dial(ctx context.Context, gen int) (conn net.Conn, err error) {
	select {
	case s.dials <- struct{}{}:
		defer func() { <-s.dials }()
	case <-ctx.Done():
		return nil, fmt.Errorf("dial generation %d: %w", gen, context.Cause(ctx))
	}
	if err := s.find(gen); err != nil {
		return nil, fmt.Errorf("dial generation %d: %w", gen, err)
	}
	for _, door := range frontDoors(s.at) {
		conn, err = s.dial(ctx, gen, door)
		// A container may have no ::1, or none of IPv4: then the other door of a dual-stack listener is the one.
		if !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EAFNOSUPPORT) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("dial generation %d: %w", gen, err)
	}
	return conn, nil
}

// find sees to it that the place of a generation's listener is known.
func (s *steer) find(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	return s.ascertain(gen)
}

// frontDoors is where the public address can be reached from this machine.
func frontDoors(at netip.AddrPort) []netip.AddrPort {
	four, six := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	switch {
	case at.Addr() == netip.IPv4Unspecified():
		return []netip.AddrPort{netip.AddrPortFrom(four, at.Port())}
	case at.Addr() == netip.IPv6Unspecified():
		return []netip.AddrPort{netip.AddrPortFrom(four, at.Port()), netip.AddrPortFrom(six, at.Port())}
	}
	return []netip.AddrPort{at}
}

func (s *steer) dial(ctx context.Context, gen int, door netip.AddrPort) (net.Conn, error) {
	var source netip.AddrPort
	d := net.Dialer{
		// The dialer calls this before it connects, and binds nothing itself as it has no LocalAddr. It may do so twice: it
		// starts over when a socket has connected to itself.
		Control: func(_, _ string, raw syscall.RawConn) error {
			if err := s.dismiss(source); err != nil {
				return err
			}
			var err error
			ctlErr := raw.Control(func(fd uintptr) { source, err = s.admit(int(fd), gen, door.Addr()) })
			return errors.Join(ctlErr, err)
		},
	}
	conn, err := d.DialContext(ctx, "tcp", door.String())
	if dismissErr := s.dismiss(source); dismissErr != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return nil, errors.Join(err, dismissErr)
	}
	return conn, err
}

// admit binds a probe's socket to from, the address that it is going to connect to, and sends what comes from there to gen.
func (s *steer) admit(fd, gen int, from netip.Addr) (source netip.AddrPort, err error) {
	sa, err := sockaddr(netip.AddrPortFrom(from, 0))
	if err != nil {
		return source, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return source, fmt.Errorf("bind probe to %s: %w", from, err)
	}
	if source, err = boundTo(fd); err != nil {
		return source, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	if err := s.placed(gen); err != nil {
		return netip.AddrPort{}, err
	}
	s.probes[source] = gen
	if err := s.attach(); err != nil {
		delete(s.probes, source)
		return netip.AddrPort{}, err
	}
	return source, nil
}

// dismiss ends what admit began.
func (s *steer) dismiss(source netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.probes[source]; !ok {
		return nil
	}
	delete(s.probes, source)
	return s.attach()
}
