package socket

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// link joins two network namespaces, the server's (10.99.1.1) and the clients' (10.99.1.2), by two
// TUN devices. It can hold back packets to the clients and delay all packets: a real round trip on
// kernels without netem.
//
// The test's own thread is in the server's namespace for the rest of the test and ends with it.
type link struct {
	t               *testing.T
	server, clients int // namespace descriptors
	toClients       *wire
	toServer        *wire
}

const (
	serverIP = "10.99.1.1"
	clientIP = "10.99.1.2"
)

func newLink(t *testing.T, delay time.Duration) *link {
	t.Helper()
	runtime.LockOSThread()
	l := &link{t: t}
	a := l.namespace(&l.clients, clientIP)
	b := l.namespace(&l.server, serverIP)
	l.toClients, l.toServer = newWire(a, delay), newWire(b, delay)
	var pumps sync.WaitGroup
	pumps.Go(func() { l.toClients.pump(b) })
	pumps.Go(func() { l.toServer.pump(a) })
	t.Cleanup(func() {
		_, _ = a.Close(), b.Close()
		pumps.Wait()
		l.toClients.end()
		l.toServer.end()
	})
	return l
}

// namespace moves the thread into a new namespace with a TUN device, and returns the device.
func (l *link) namespace(ns *int, ip string) *os.File {
	t := l.t
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("a network namespace needs root: %v", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	*ns = fd
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("there is no TUN device: %v", err)
	}
	device := ifreq(t, "t0")
	device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	must(t, unix.IoctlIfreq(tun, unix.TUNSETIFF, device))
	// not earlier: the poller takes a TUN descriptor without a device for broken
	file := os.NewFile(uintptr(tun), "tun")
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(s)
	addr := ifreq(t, "t0")
	must(t, addr.SetInet4Addr(netip.MustParseAddr(ip).AsSlice()))
	must(t, unix.IoctlIfreq(s, unix.SIOCSIFADDR, addr))
	mask := ifreq(t, "t0") // a TUN device gets a /32 by default
	must(t, mask.SetInet4Addr([]byte{255, 255, 255, 0}))
	must(t, unix.IoctlIfreq(s, unix.SIOCSIFNETMASK, mask))
	for _, name := range []string{"lo", "t0"} {
		up := ifreq(t, name)
		up.SetUint16(unix.IFF_UP)
		must(t, unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, up))
	}
	return file
}

func ifreq(t *testing.T, name string) *unix.Ifreq {
	t.Helper()
	r, err := unix.NewIfreq(name)
	must(t, err)
	return r
}

// connect starts a connection from the clients' side, and returns at once.
func (l *link) connect(to netip.AddrPort) *os.File {
	l.t.Helper()
	must(l.t, unix.Setns(l.clients, unix.CLONE_NEWNET))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	must(l.t, err)
	must(l.t, unix.Setns(l.server, unix.CLONE_NEWNET))
	sa, err := sockaddr(to)
	must(l.t, err)
	if err := unix.Connect(fd, sa); err != unix.EINPROGRESS {
		l.t.Fatalf("connect: %v", err)
	}
	f := os.NewFile(uintptr(fd), "client")
	l.t.Cleanup(func() { _ = f.Close() })
	return f
}

// answer returns what a client reads until EOF.
func answer(f *os.File) (string, error) {
	b, err := io.ReadAll(f)
	return string(b), err
}

// wire is one direction of a link.
type wire struct {
	to      *os.File
	delay   time.Duration
	delayed chan packet
	ended   sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	holding bool
	held    [][]byte
}

type packet struct {
	due  time.Time
	data []byte
}

func newWire(to *os.File, delay time.Duration) *wire {
	w := &wire{to: to, delay: delay, delayed: make(chan packet, 100_000)}
	w.changed = sync.NewCond(&w.mu)
	w.ended.Go(func() {
		for p := range w.delayed {
			<-time.After(time.Until(p.due)) // this is the wire's delay, not a wait of the test
			w.deliver(p.data)
		}
	})
	return w
}

func (w *wire) end() {
	close(w.delayed)
	w.ended.Wait()
}

// pump carries packets from a device until it is closed.
func (w *wire) pump(from *os.File) {
	for {
		data := make([]byte, 2048)
		n, err := from.Read(data)
		if err != nil {
			return
		}
		if w.delay == 0 {
			w.deliver(data[:n])
		} else {
			w.delayed <- packet{time.Now().Add(w.delay), data[:n]}
		}
	}
}

func (w *wire) deliver(data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holding {
		w.held = append(w.held, data)
		w.changed.Broadcast()
		return
	}
	_, _ = w.to.Write(data) // a full device drops packets, as a link does
}

func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = true
}

// waitTCP waits until n TCP packets are held back.
func (w *wire) waitTCP(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.tcp() < n {
		w.changed.Wait()
	}
}

func (w *wire) tcp() (n int) {
	for _, data := range w.held {
		if data[0]>>4 == 4 && data[9] == unix.IPPROTO_TCP {
			n++
		}
	}
	return n
}

func (w *wire) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = false
	for _, data := range w.held {
		_, _ = w.to.Write(data)
	}
	w.held = nil
}

// busy keeps connecting from the clients' side, one connection after the other, until end is
// closed. It counts the answered connections.
func (l *link) busy(to netip.AddrPort, end <-chan struct{}, clients int) (wait func() (served int, err error)) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var total int
	var first error
	for range clients {
		all.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread is in another namespace and must end
			err := unix.Setns(l.clients, unix.CLONE_NEWNET)
			served := 0
			for err == nil && isOpen(end) {
				if _, err = dialed(to.String()); err == nil {
					served++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total += served
			if err != nil && first == nil {
				first = fmt.Errorf("after %d connections: %w", served, err)
			}
		})
	}
	return func() (int, error) {
		all.Wait()
		return total, first
	}
}

func isOpen(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}
