package proc

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Listener is a TCP or unix socket that accepts connections.
type Listener struct {
	Inode uint64
	Addr  netip.AddrPort // of a TCP socket
	Path  string         // of a unix socket; @ begins a name in the abstract namespace
}

// Listeners returns the listening sockets of a process's network namespace (proc_net(5)). It reads
// every socket; sock_diag(7), where it is permitted, lists listeners only.
func Listeners(pid int) ([]Listener, error) {
	var list []Listener
	add := func(parse func(line string) (Listener, bool)) func(string) {
		return func(line string) {
			if l, ok := parse(line); ok {
				list = append(list, l)
			}
		}
	}
	for _, name := range []string{"tcp", "tcp6"} {
		err := eachLine(Path(pid, "net", name), add(parseTCP))
		if err != nil && (name == "tcp" || !errors.Is(err, fs.ErrNotExist)) { // there may be no IPv6
			return nil, err
		}
	}
	err := eachLine(Path(pid, "net", "unix"), add(parseUnix))
	return list, err
}

func eachLine(path string, line func(string)) error {
	f, err := os.Open(path)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line(lines.Text())
	}
	return gone(lines.Err())
}

func parseTCP(line string) (Listener, bool) {
	const listens = "0A" // TCP_LISTEN in include/net/tcp_states.h
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != listens { // sl local_address rem_address st ... inode
		return Listener{}, false
	}
	inode, err := strconv.ParseUint(f[9], 10, 64)
	at, ok := hexAddress(f[1])
	return Listener{Inode: inode, Addr: at}, ok && err == nil
}

// hexAddress parses 0100007F:1F90. Each 32-bit word of the address is in the machine's byte order,
// which is little-endian on every platform of superctl.
func hexAddress(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	number, errPort := strconv.ParseUint(port, 16, 16)
	if err != nil || errPort != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), ok
}

func parseUnix(line string) (Listener, bool) {
	const accepts = "00010000"            // __SO_ACCEPTCON
	f, path, ok := cutFields(line+" ", 7) // Num RefCount Protocol Flags Type St Inode Path
	if !ok || f[3] != accepts {
		return Listener{}, false
	}
	inode, err := strconv.ParseUint(f[6], 10, 64)
	return Listener{Inode: inode, Path: strings.TrimSuffix(path, " ")}, err == nil
}
