package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listeners are made with raw system calls and stay raw descriptors for their whole life, because
// of two traps in the standard library:
//   - net.ListenConfig makes MPTCP sockets, on which the kernel refuses the filter with EOPNOTSUPP.
//   - net.Listener.File, os.File.Fd and exec.Cmd.ExtraFiles clear O_NONBLOCK on the open file
//     description. The workers share it, so the accept of every worker blocks (a running uvicorn
//     hung, and did not stop on SIGTERM).

// tcpSocketAt returns a TCP socket that is bound to an address and does not listen.
func tcpSocketAt(at netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, explainSocket(err, family)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			fd = -1
		}
	}()
	if err := setOptions(fd, at); err != nil {
		return fd, err
	}
	sa, err := sockaddr(at)
	if err != nil {
		return fd, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return fd, explainBind(err, at)
	}
	return fd, nil
}

func setOptions(fd int, at netip.AddrPort) error {
	// SO_REUSEADDR is for old connections in TIME_WAIT. It does not let two processes listen at
	// once: that takes SO_REUSEPORT on both sockets and the same effective user
	// (net/ipv4/inet_connection_sock.c, inet_bind_conflict).
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return fmt.Errorf("setsockopt: %w", err)
		}
	}
	// Accepted connections inherit TCP_NODELAY. Most servers set it on each connection, but a
	// server that mistakes the inherited listener for another kind does not: uvicorn --fd labels it
	// AF_UNIX, so asyncio does not set the option, and each response on a kept-alive connection
	// waits 40 ms for the client's delayed acknowledgement (tcp(7); measured with 8 clients: 150
	// requests a second without the option, 14,000 with it).
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
	}
	if at.Addr() == netip.IPv6Unspecified() {
		// "[::]" means both families, whatever net.ipv6.bindv6only is.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return fmt.Errorf("setsockopt IPV6_V6ONLY: %w", err)
		}
	}
	return nil
}

// listenTCP returns a listener. It becomes the last member of the SO_REUSEPORT group of its
// address.
func listenTCP(at netip.AddrPort, backlog int) (int, error) {
	fd, err := tcpSocketAt(at)
	if err != nil {
		return -1, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", at, err)
	}
	return fd, nil
}

func sockaddr(at netip.AddrPort) (unix.Sockaddr, error) {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	if zone := at.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", zone, err)
		}
		sa.ZoneId = uint32(i.Index)
	}
	return sa, nil
}

// boundTo returns the address that a TCP socket is bound to, without its zone.
func boundTo(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, errors.New("not a TCP socket")
}

func explainSocket(err error, family int) error {
	if family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("this machine has no IPv6: write an IPv4 address: %w", err)
	}
	return fmt.Errorf("socket: %w", err)
}

func explainBind(err error, at netip.AddrPort) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("bind %s: %w: a port below 1024 needs CAP_NET_BIND_SERVICE (AmbientCapabilities= in the "+
			"unit) or a socket unit (systemd:NAME)", at, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("bind %s: %w: no interface of this machine has that address", at, err)
	}
	return fmt.Errorf("bind %s: %w", at, err)
}

// inode returns the number that identifies a socket in /proc and sock_diag.
func inode(fd int) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("fstat: %w", err)
	}
	return uint32(st.Ino), nil
}

// relisten undoes what a server does to an inherited listener: see supervisor.Gate.
func relisten(fd, backlog int) error {
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	return restoreNonblock(fd)
}

// restoreNonblock sets O_NONBLOCK again. It returns an error even after it has set the flag: until
// then, a worker hung in accept if another worker was faster.
func restoreNonblock(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("fcntl: %w", err)
	}
	if flags&unix.O_NONBLOCK != 0 {
		return nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("set O_NONBLOCK again: %w", err)
	}
	return errors.New("a worker had cleared O_NONBLOCK on the listener that it shares with others; it is set again")
}

// listens reports whether a socket still listens. A process that shares it can end that with
// shutdown(2).
func listens(fd int) bool {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && on != 0
}

// duplicate copies the descriptor of a file without os.File.Fd.
func duplicate(file interface {
	SyscallConn() (syscall.RawConn, error)
},
) (fd int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	ctlErr := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 3) })
	return fd, errors.Join(ctlErr, err)
}
