package socket

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

// decide runs the program of f in the VM of x/net/bpf, on the packet from the IP header on. The VM
// supports neither SKF_NET_OFF nor the kernel's random numbers, so decide moves the loads and
// replaces every random load by random.
func decide(t *testing.T, f filter, packet []byte, random uint32) int {
	t.Helper()
	ins, err := f.program()
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range ins {
		switch in := in.(type) {
		case bpf.LoadAbsolute:
			ins[i] = bpf.LoadAbsolute{Off: in.Off - netOff, Size: in.Size}
		case bpf.LoadExtension:
			ins[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: random}
		}
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	index, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// syn returns the headers of a TCP segment from source. With options, the IPv4 header has one word
// of them.
func syn(source string, options bool) []byte {
	from := netip.MustParseAddrPort(source)
	if from.Addr().Is6() {
		packet := make([]byte, 60)
		packet[0], packet[6] = 0x60, 6
		copy(packet[8:], from.Addr().AsSlice())
		binary.BigEndian.PutUint16(packet[40:], from.Port())
		return packet
	}
	packet := make([]byte, 44)
	packet[0], packet[9] = 0x45, 6
	tcp := packet[20:]
	if options {
		packet[0] = 0x46
		binary.BigEndian.PutUint16(packet[20:], from.Port()) // option bytes that look like the port
		tcp = packet[24:]
	}
	copy(packet[12:], from.Addr().AsSlice())
	binary.BigEndian.PutUint16(tcp, from.Port())
	return packet
}

func probeFrom(source string, index int) probeRule {
	return probeRule{source: netip.MustParseAddrPort(source), index: index}
}

func networks(list ...string) (ns []netip.Prefix) {
	for _, n := range list {
		ns = append(ns, netip.MustParsePrefix(n))
	}
	return ns
}

func TestTheFilterSendsEachConnectionToItsListener(t *testing.T) {
	probing := filter{live: 3, probes: []probeRule{
		probeFrom("127.0.0.1:40000", 5), probeFrom("[::1]:40000", 6), probeFrom("10.1.2.3:40000", 7),
		probeFrom("[2001:db8::1]:40001", 8),
	}}
	canary := filter{live: 1, canary: 2, networks: networks(
		"10.0.0.0/8", "192.168.7.0/24", "203.0.113.9/32", "2001:db8::/32", "2001:db9:0:1::/64", "fd00::5/128",
		"2a00::/13", "::ffff:172.16.0.0/108",
	)}
	all := filter{live: 1, canary: 2, networks: networks("0.0.0.0/0")}
	for _, tt := range []struct {
		name   string
		f      filter
		source string
		want   int
	}{
		{"live is a constant", filter{live: 4}, "127.0.0.1:1", 4},
		{"live is a constant on IPv6", filter{live: 4}, "[::1]:1", 4},

		{"a probe by IPv4", probing, "127.0.0.1:40000", 5},
		{"a probe by IPv6", probing, "[::1]:40000", 6},
		{"a second probe by IPv4", probing, "10.1.2.3:40000", 7},
		{"a second probe by IPv6", probing, "[2001:db8::1]:40001", 8},
		{"the probe's port from elsewhere", probing, "10.1.2.4:40000", 3},
		{"the probe's port from elsewhere on IPv6", probing, "[::2]:40000", 3},
		{"the probe's port from where the last word only agrees", probing, "[2001::1]:40000", 3},
		{"the probe's address with another port", probing, "127.0.0.1:40001", 3},
		{"the probe's address with another port on IPv6", probing, "[::1]:40001", 3},
		{"a probe's address with the other probe's port", probing, "[2001:db8::1]:40000", 3},

		{"in a network of 8 bits", canary, "10.255.0.1:5", 2},
		{"beside it", canary, "11.0.0.1:5", 1},
		{"in a network of 24 bits", canary, "192.168.7.200:5", 2},
		{"beside it", canary, "192.168.8.0:5", 1},
		{"a host", canary, "203.0.113.9:5", 2},
		{"its neighbour", canary, "203.0.113.8:5", 1},
		{"in a network of 32 bits on IPv6", canary, "[2001:db8:ffff::1]:5", 2},
		{"in a network of 64 bits", canary, "[2001:db9:0:1:5::1]:5", 2},
		{"beside it", canary, "[2001:db9:0:2::1]:5", 1},
		{"an IPv6 host", canary, "[fd00::5]:5", 2},
		{"its neighbour", canary, "[fd00::6]:5", 1},
		{"in a network of 13 bits", canary, "[2a07:ffff::]:5", 2},
		{"beside it", canary, "[2a08::]:5", 1},
		{"in a network written as v4-mapped", canary, "172.31.0.1:5", 2},
		{"beside it", canary, "172.32.0.1:5", 1},
		{"everybody on IPv4", all, "8.8.8.8:5", 2},
		{"but not on IPv6", all, "[2001::8]:5", 1},

		{
			"a probe goes before a network",
			filter{
				live: 1, canary: 2, networks: networks("0.0.0.0/0"),
				probes: []probeRule{probeFrom("127.0.0.1:7", 3)},
			},
			"127.0.0.1:7", 3,
		},
	} {
		if got := decide(t, tt.f, syn(tt.source, false), 0); got != tt.want {
			t.Errorf("%s: %s goes to %d, want %d", tt.name, tt.source, got, tt.want)
		}
	}
}

func TestOptionsInTheIPHeaderDoNotMakeAConnectionAProbe(t *testing.T) {
	f := filter{
		live: 1, probes: []probeRule{probeFrom("127.0.0.1:40000", 5)}, canary: 2,
		networks: networks("10.0.0.0/8"),
	}
	if got := decide(t, f, syn("127.0.0.1:40000", true), 0); got != 1 {
		t.Errorf("goes to %d, want 1", got)
	}
	if got := decide(t, f, syn("10.0.0.1:40000", true), 0); got != 2 {
		t.Errorf("from a canary network: goes to %d, want 2: the address stands before the options", got)
	}
}

func TestTheCanaryShareIsInTenThousands(t *testing.T) {
	for _, tt := range []struct {
		share  int
		random uint32
		want   int
	}{
		{0, 0, 0},
		{1, 0, 1},
		{1, 1, 0},
		{500, 499, 1},
		{500, 500, 0},
		{500, 10_499, 1},
		{500, 10_500, 0},
		{10_000, 9_999, 1},
		{10_000, 4_294_967_295, 1},
	} {
		f := filter{live: 0, canary: 1, share: tt.share}
		if got := decide(t, f, syn("127.0.0.1:1", false), tt.random); got != tt.want {
			t.Errorf("share %d, random %d: goes to %d, want %d", tt.share, tt.random, got, tt.want)
		}
	}
}

func TestListenersOfAnEarlierDaemonShareConnections(t *testing.T) {
	f := filter{live: 2, liveCount: 3}
	for random, want := range map[uint32]int{0: 2, 1: 3, 2: 4, 3: 2} {
		if got := decide(t, f, syn("127.0.0.1:1", false), random); got != want {
			t.Errorf("random %d: goes to %d, want %d", random, got, want)
		}
	}
}

func TestASpreadIsEvenOverItsGenerationsOnly(t *testing.T) {
	f := filter{live: 0, spread: []int{4, 1, 3}, canary: 2, share: 1}
	for random, want := range map[uint32]int{0: 2, 3: 4, 1: 1, 2: 3, 6: 4, 7: 1} {
		if got := decide(t, f, syn("127.0.0.1:1", false), random); got != want {
			t.Errorf("random %d: goes to %d, want %d", random, got, want)
		}
	}
}

// TestManyRulesFitOneProgram also proves that no conditional jump exceeds its 8 bits: the far rules
// are still found.
func TestManyRulesFitOneProgram(t *testing.T) {
	f := filter{live: 1, canary: 2}
	for i := range 64 {
		f.probes = append(f.probes, probeRule{netip.AddrPortFrom(netip.IPv6Loopback(), uint16(1000+i)), 10 + i})
		f.probes = append(f.probes,
			probeRule{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(1000+i)), 100 + i})
		f.networks = append(f.networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
	}
	for source, want := range map[string]int{
		"[::1]:1063": 73, "127.0.0.1:1063": 163, "10.63.1.1:9": 2,
		"10.64.1.1:9": 1, "[::1]:1064": 1,
	} {
		if got := decide(t, f, syn(source, false), 0); got != want {
			t.Errorf("%s goes to %d, want %d", source, got, want)
		}
	}
}

func TestAnImpossibleFilterIsAnError(t *testing.T) {
	long := filter{networks: make([]netip.Prefix, 2000)}
	for i := range long.networks {
		long.networks[i] = netip.MustParsePrefix("10.0.0.0/8")
	}
	for name, f := range map[string]filter{
		"a share below nothing": {share: -1},
		"a share above all":     {share: 10_001},
		"no network":            {networks: []netip.Prefix{{}}},
		"too many networks":     long,
	} {
		if _, err := f.program(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
