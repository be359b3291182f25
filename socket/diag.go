package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file asks the kernel about sockets of other processes with NETLINK_SOCK_DIAG, as ss(8) does.
// That needs no privilege, but it needs the address family AF_NETLINK (RestrictAddressFamilies= of
// a systemd unit), and it sees one network namespace only. The layouts are in
// include/uapi/linux/{inet_diag,unix_diag}.h.
//
// mdlayher/netlink v1.11.2 would frame the messages in 27 of these 236 lines less, but collects all
// answers of a dump before the first is looked at: twice the memory at 1,000 sockets, and a busy
// site has 100,000.

// tcpSocket is a TCP socket as reported by inet_diag.
type tcpSocket struct {
	state  uint8
	resent uint8  // of a half-open handshake: how often the SYN-ACK was retransmitted
	unread uint32 // of a connection: bytes that no process has read yet
	sent   uint32 // of a connection, if asked for (inetDiagInfo): segments with data that were sent
	local  netip.AddrPort
	remote netip.AddrPort
	family uint8
	only6  bool // a listener with IPV6_V6ONLY
	cookie uint64
	uid    uint32
	inode  uint32 // 0 while no process has the socket open: half-open, or in an accept queue
	iface  uint32
}

// The states of TCP sockets (include/net/tcp_states.h). A request for half-open handshakes names
// NEW_SYN_RECV, but the answer has SYN_RECV (net/ipv4/inet_diag.c, inet_req_diag_fill).
const (
	tcpEstablished = 1
	tcpSynRecv     = 3
	tcpClose       = 7
	tcpCloseWait   = 8
	tcpListen      = 10
	tcpNewSynRecv  = 12
)

// unixSocket is a unix socket as reported by unix_diag.
type unixSocket struct {
	stream   bool // a stream socket, not a datagram socket
	state    uint8
	inode    uint32
	cookie   uint64
	name     string
	dev      uint32
	file     uint32 // inode number of the socket's file, truncated to 32 bits
	queue    uint32 // of a listener: length of the accept queue; of a connection: bytes that no process has read yet
	capacity uint32
}

const (
	inetDiagInfo     = 2  // INET_DIAG_INFO
	inetDiagSkV6Only = 11 // INET_DIAG_SKV6ONLY
	unixDiagName     = 0  // UNIX_DIAG_NAME
	unixDiagVFS      = 1  // UNIX_DIAG_VFS
	unixDiagRQLen    = 4  // UNIX_DIAG_RQLEN
	showName         = 0x01
	showVFS          = 0x02
	showRQLen        = 0x10

	dataSegsOut = 156 // offset of tcpi_data_segs_out in struct tcp_info, since Linux 4.6

	sizeofInetReq, sizeofInetMsg = 56, 72
	sizeofUnixReq, sizeofUnixMsg = 24, 16
)

// tcpSockets lists the TCP sockets of a family in the given states. port selects a local port; 0
// selects all ports. AF_INET6 includes the IPv4 connections of a dual-stack listener.
func tcpSockets(family uint8, port uint16, states ...int) ([]tcpSocket, error) {
	return tcpSocketsWith(0, family, port, states...)
}

// tcpSocketsWith is tcpSockets with the information of an attribute (idiag_ext); 0 = none.
func tcpSocketsWith(attribute, family uint8, port uint16, states ...int) ([]tcpSocket, error) {
	req := make([]byte, sizeofInetReq)
	req[0], req[1] = family, unix.IPPROTO_TCP
	if attribute > 0 {
		req[2] = 1 << (attribute - 1)
	}
	binary.NativeEndian.PutUint32(req[4:], mask(states))
	binary.BigEndian.PutUint16(req[8:], port) // the kernel filters by port (inet_diag_dump_icsk)
	var list []tcpSocket
	err := diag(req, func(b []byte) {
		if len(b) < sizeofInetMsg {
			return
		}
		s := tcpSocket{
			family: b[0], state: b[1], resent: b[3],
			local: sockid(b[0], b[8:24], b[4:6]), remote: sockid(b[0], b[24:40], b[6:8]),
			iface: binary.NativeEndian.Uint32(b[40:]), cookie: binary.NativeEndian.Uint64(b[44:]),
			unread: binary.NativeEndian.Uint32(b[56:]), uid: binary.NativeEndian.Uint32(b[64:]), inode: binary.NativeEndian.Uint32(b[68:]),
		}
		attributes(b[sizeofInetMsg:], func(kind uint16, value []byte) {
			switch {
			case kind == inetDiagSkV6Only && len(value) > 0:
				s.only6 = value[0] != 0
			case kind == inetDiagInfo && len(value) >= dataSegsOut+4:
				s.sent = binary.NativeEndian.Uint32(value[dataSegsOut:])
			}
		})
		if port == 0 || s.local.Port() == port {
			list = append(list, s)
		}
	}, true)
	return list, err
}

// unixSockets lists the unix stream sockets in the given states, with their names and files.
func unixSockets(states ...int) ([]unixSocket, error) {
	var list []unixSocket
	err := diag(unixRequest(0, showName|showVFS, states...), func(b []byte) {
		if s, ok := parseUnix(b); ok && s.stream {
			list = append(list, s)
		}
	}, true)
	return list, err
}

// unixQueue returns the length and the limit of the accept queue of the listener with that inode.
func unixQueue(inode uint32) (length, limit int, err error) {
	found := false
	err = diag(unixRequest(inode, showRQLen, tcpListen), func(b []byte) {
		if s, ok := parseUnix(b); ok {
			length, limit, found = int(s.queue), int(s.capacity), true
		}
	}, false)
	if err == nil && !found {
		err = unix.ENOENT
	}
	return length, limit, err
}

func unixRequest(inode, show uint32, states ...int) []byte {
	req := make([]byte, sizeofUnixReq)
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], mask(states))
	binary.NativeEndian.PutUint32(req[8:], inode)
	binary.NativeEndian.PutUint32(req[12:], show)
	binary.NativeEndian.PutUint64(req[16:], ^uint64(0)) // INET_DIAG_NOCOOKIE
	return req
}

func parseUnix(b []byte) (unixSocket, bool) {
	if len(b) < sizeofUnixMsg {
		return unixSocket{}, false
	}
	s := unixSocket{
		stream: b[1] == unix.SOCK_STREAM, state: b[2], inode: binary.NativeEndian.Uint32(b[4:]),
		cookie: binary.NativeEndian.Uint64(b[8:]),
	}
	attributes(b[sizeofUnixMsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unixDiagName:
			s.name = strings.TrimRight(string(value), "\x00")
		case kind == unixDiagVFS && len(value) >= 8:
			s.file, s.dev = binary.NativeEndian.Uint32(value), binary.NativeEndian.Uint32(value[4:])
		case kind == unixDiagRQLen && len(value) >= 8:
			s.queue, s.capacity = binary.NativeEndian.Uint32(value), binary.NativeEndian.Uint32(value[4:])
		}
	})
	return s, true
}

func mask(states []int) (m uint32) {
	for _, s := range states {
		m |= 1 << s
	}
	return m
}

func sockid(family uint8, ip, port []byte) netip.AddrPort {
	addr := netip.AddrFrom16([16]byte(ip)).Unmap()
	if family == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(ip[:4]))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port))
}

// attributes calls each for every netlink attribute.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		each(kind, b[unix.SizeofRtAttr:size])
		next := (size + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		b = b[min(next, len(b)):]
	}
}

// diag sends one SOCK_DIAG_BY_FAMILY request and passes each answer to each.
func diag(body []byte, each func([]byte), dump bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("sock_diag: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, diagRequest(body, dump), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("sock_diag: %w", err)
	}
	buf := make([]byte, 64<<10)
	for done := false; !done; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			done, err = diagAnswers(buf[:n], each)
		}
		if err != nil {
			return fmt.Errorf("sock_diag: %w", err)
		}
		done = done || !dump
	}
	return nil
}

// diagRequest returns the request with its netlink header.
func diagRequest(body []byte, dump bool) []byte {
	flags := uint16(unix.NLM_F_REQUEST)
	if dump {
		flags |= unix.NLM_F_DUMP
	}
	req := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(req, uint32(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(req[6:], flags)
	return append(req, body...)
}

// diagAnswers passes each answer in a datagram to each, and reports whether there are no more.
func diagAnswers(datagram []byte, each func([]byte)) (done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		switch m.Header.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
				return true, unix.Errno(-code)
			}
			return true, nil
		default:
			each(m.Data)
		}
	}
	return false, nil
}
