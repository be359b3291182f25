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

// maxDials is how many probes of one gate may run at once; further ones wait for a slot. Probes are
// not serialized, because one that hangs on a worker with a full queue would delay all others.
const maxDials = 32

// Dial connects to the public address as every client does. The filter recognizes the probe by its
// source address and port and sends it to the generation.
//
// The order matters. The socket is bound first, so that no other socket can have this source; then
// the rule is added to the filter; then the socket connects. The rule is removed when the dial has
// ended: the connection is in the generation's queue then, and later users of the port are routed
// normally.
//
// With SYN cookies always on (net.ipv4.tcp_syncookies = 2) the kernel runs the filter again for the
// ACK that ends the handshake. On the machine's own addresses that has happened when connect
// returns.
func (s *steer) Dial(ctx context.Context, gen int) (conn net.Conn, err error) {
	select {
	case s.dialSlots <- struct{}{}:
		defer func() { <-s.dialSlots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("dial generation %d: %w", gen, context.Cause(ctx))
	}
	if err := s.ensureIndexKnown(gen); err != nil {
		return nil, fmt.Errorf("dial generation %d: %w", gen, err)
	}
	for _, target := range dialTargets(s.at) {
		conn, err = s.dial(ctx, gen, target)
		// A container may have no ::1, or no IPv4. The other address of a dual-stack listener works
		// then.
		if !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EAFNOSUPPORT) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("dial generation %d: %w", gen, err)
	}
	return conn, nil
}

// ensureIndexKnown looks for the index of a generation's listener if it is unknown.
func (s *steer) ensureIndexKnown(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	return s.ensureSteerable(gen)
}

// dialTargets returns the addresses at which this machine can reach the public address.
func dialTargets(at netip.AddrPort) []netip.AddrPort {
	four, six := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	switch {
	case at.Addr() == netip.IPv4Unspecified():
		return []netip.AddrPort{netip.AddrPortFrom(four, at.Port())}
	case at.Addr() == netip.IPv6Unspecified():
		return []netip.AddrPort{netip.AddrPortFrom(four, at.Port()), netip.AddrPortFrom(six, at.Port())}
	}
	return []netip.AddrPort{at}
}

func (s *steer) dial(ctx context.Context, gen int, target netip.AddrPort) (net.Conn, error) {
	var source netip.AddrPort
	d := net.Dialer{
		// The dialer calls Control before it connects, and binds nothing itself because LocalAddr
		// is unset. It may call Control twice: it starts over when a socket has connected to
		// itself.
		Control: func(_, _ string, raw syscall.RawConn) error {
			if err := s.removeProbe(source); err != nil {
				return err
			}
			var err error
			ctlErr := raw.Control(func(fd uintptr) { source, err = s.addProbe(int(fd), gen, target.Addr()) })
			return errors.Join(ctlErr, err)
		},
	}
	conn, err := d.DialContext(ctx, "tcp", target.String())
	if removeErr := s.removeProbe(source); removeErr != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return nil, errors.Join(err, removeErr)
	}
	return conn, err
}

// addProbe binds a probe's socket to ip, and adds a rule that sends connections from there to gen.
func (s *steer) addProbe(fd, gen int, ip netip.Addr) (source netip.AddrPort, err error) {
	sa, err := sockaddr(netip.AddrPortFrom(ip, 0))
	if err != nil {
		return source, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return source, fmt.Errorf("bind probe to %s: %w", ip, err)
	}
	if source, err = boundTo(fd); err != nil {
		return source, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	if err := s.checkSteerableTo(gen); err != nil {
		return netip.AddrPort{}, err
	}
	s.probes[source] = gen
	if err := s.attach(); err != nil {
		delete(s.probes, source)
		return netip.AddrPort{}, err
	}
	return source, nil
}

// removeProbe removes the rule that addProbe added.
func (s *steer) removeProbe(source netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.probes[source]; !ok {
		return nil
	}
	delete(s.probes, source)
	return s.attach()
}
