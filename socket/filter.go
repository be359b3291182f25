package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// filter decides which listener of a SO_REUSEPORT group gets a new connection. It names listeners
// by their index in the group, which is the order in which they called listen (see group).
//
// The kernel runs the program for each SYN and, with SYN cookies, again for the ACK that returns
// the cookie. The packet's data pointer is then past the TCP header (net/core/sock_reuseport.c,
// run_bpf_filter), but loads at SKF_NET_OFF still reach the IP header.
type filter struct {
	live      int            // gets the connections that match no rule below
	liveCount int            // when above 1: connections are spread over the indexes live to live+liveCount-1
	spread    []int          // when not empty: connections are spread over these indexes instead of live
	probes    []probeRule    // the first match wins, before canary
	canary    int            // index of the canary
	networks  []netip.Prefix // every connection from these networks goes to canary
	share     int            // of all other connections, this many in 10,000 go to canary
}

// probeRule sends the connection from this source to a listener.
type probeRule struct {
	source netip.AddrPort
	index  int
}

const (
	wholeShare = 10_000 // a share is a number of connections in 10,000

	// netOff is SKF_NET_OFF. Added to the offset of an absolute load, it makes the load start at
	// the IP header.
	netOff uint32 = 0xfff00000

	ipv4Source, ipv4SourcePort = 12, 20
	ipv6Next                   = 6
	ipv6Source, ipv6SourcePort = 8, 40
	ipv4NoOptions              = 0x45 // version 4 and a header of 5 words, so that the source port is at offset 20
)

// program returns the filter in classic BPF. The program is the same for every family: on a
// dual-stack listener an IPv4 connection arrives with an IPv4 header, so the rules of each family
// are guarded by the version in the IP header.
//
// A conditional jump spans at most 255 instructions. So each rule jumps over itself at most; longer
// distances are left to the unconditional jump, which has 32 bits.
func (f filter) program() ([]bpf.Instruction, error) {
	if f.share < 0 || f.share > wholeShare {
		return nil, fmt.Errorf("canary share of %d in %d", f.share, wholeShare)
	}
	ins, err := f.bySource()
	if err != nil {
		return nil, err
	}
	if f.share > 0 {
		ins = append(ins, random(wholeShare)...)
		ins = append(ins,
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: uint32(f.share), SkipFalse: 1},
			bpf.RetConstant{Val: uint32(f.canary)})
	}
	ins = append(ins, f.others()...)
	if len(ins) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("the filter has %d instructions and the kernel's limit is %d: name fewer canary "+
			"networks, or have fewer instances", len(ins), unix.BPF_MAXINSNS)
	}
	return ins, nil
}

// bySource returns the rules that depend on where a connection comes from: probes, then networks.
func (f filter) bySource() ([]bpf.Instruction, error) {
	var v4, v6 []bpf.Instruction
	for _, p := range f.probes {
		if p.source.Addr().Unmap().Is4() {
			v4 = append(v4, probe4(p)...)
		} else {
			v6 = append(v6, probe6(p)...)
		}
	}
	// The source port is at a fixed offset only in a plain header. Probes have no IP options and no
	// extension headers.
	v4 = onlyIf(0, 0xff, ipv4NoOptions, v4)
	v6 = onlyIf(ipv6Next, 0xff, unix.IPPROTO_TCP, v6)
	for _, n := range f.networks {
		switch {
		case !n.IsValid():
			return nil, errors.New("canary network is not a network")
		case n.Addr().Is4():
			v4 = append(v4, fromNetwork(ipv4Source, n, f.canary)...)
		case n.Addr().Is4In6() && n.Bits() >= 96:
			v4 = append(v4, fromNetwork(ipv4Source, netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96), f.canary)...)
		default:
			v6 = append(v6, fromNetwork(ipv6Source, n, f.canary)...)
		}
	}
	return append(onlyIf(0, 0xf0, 0x40, v4), onlyIf(0, 0xf0, 0x60, v6)...), nil
}

// others returns the rule for the connections that no other rule matches.
func (f filter) others() []bpf.Instruction {
	switch {
	case len(f.spread) > 1:
		ins := random(len(f.spread))
		for i, index := range f.spread[1:] {
			ins = append(ins, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(i + 1), SkipTrue: 1},
				bpf.RetConstant{Val: uint32(index)})
		}
		return append(ins, bpf.RetConstant{Val: uint32(f.spread[0])})
	case f.liveCount > 1:
		return append(random(f.liveCount), bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: uint32(f.live)}, bpf.RetA{})
	}
	return []bpf.Instruction{bpf.RetConstant{Val: uint32(f.live)}}
}

// random loads a random number below n.
func random(n int) []bpf.Instruction {
	return []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtRand}, bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(n)}}
}

// onlyIf guards body: it runs only if the byte at offset of the IP header, masked, equals want.
func onlyIf(offset, mask, want uint32, body []bpf.Instruction) []bpf.Instruction {
	if len(body) == 0 {
		return nil
	}
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: netOff + offset, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: want, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(body))},
	}, body...)
}

func probe4(p probeRule) []bpf.Instruction {
	ip := p.source.Addr().Unmap().As4()
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: netOff + ipv4SourcePort, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p.source.Port()), SkipTrue: 3},
		bpf.LoadAbsolute{Off: netOff + ipv4Source, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(ip[:]), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(p.index)},
	}
}

func probe6(p probeRule) []bpf.Instruction {
	ins := []bpf.Instruction{
		bpf.LoadAbsolute{Off: netOff + ipv6SourcePort, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p.source.Port()), SkipTrue: 9},
	}
	ip := p.source.Addr().As16()
	for word := range 4 {
		ins = append(ins,
			bpf.LoadAbsolute{Off: netOff + ipv6Source + 4*uint32(word), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(ip[4*word:]), SkipTrue: uint8(7 - 2*word)})
	}
	return append(ins, bpf.RetConstant{Val: uint32(p.index)})
}

// fromNetwork compares the address at offset with a prefix, word by word.
func fromNetwork(offset uint32, n netip.Prefix, index int) []bpf.Instruction {
	ip, bits := n.Masked().Addr().AsSlice(), n.Bits()
	words := (bits + 31) / 32
	var ins []bpf.Instruction
	for word := range words {
		mask := ^uint32(0)
		if rest := bits - 32*word; rest < 32 {
			mask <<= 32 - rest
		}
		ins = append(ins,
			bpf.LoadAbsolute{Off: netOff + offset + 4*uint32(word), Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			bpf.JumpIf{
				Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(ip[4*word:]),
				SkipTrue: uint8(3*(words-1-word) + 1),
			})
	}
	return append(ins, bpf.RetConstant{Val: uint32(index)})
}

// attach replaces the filter of the group of fd atomically: the kernel swaps one pointer
// (net/core/sock_reuseport.c, reuseport_attach_prog). It needs no privilege. On a socket in no
// group the call makes a group, which is how checkSteerable tests for kernel support.
func (f filter) attach(fd int) error {
	fprog, err := assemble(f)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &fprog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}
