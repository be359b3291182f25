package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plainServer is a server that knows nothing of superctl: it binds without SO_REUSEPORT, accepts,
// and answers with the number 99.
type plainServer struct {
	fd    int
	inode uint64
	at    Address
	w     *worker
}

const plainAnswer = 99

func startPlainServer(t *testing.T, at Address) *plainServer {
	t.Helper()
	family := unix.AF_INET
	if at.tcp.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	if at.tcp.Addr() == netip.IPv6Unspecified() {
		must(t, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0))
	}
	sa, err := sockaddr(at.tcp)
	must(t, err)
	must(t, unix.Bind(fd, sa))
	must(t, unix.Listen(fd, 1024))
	number, err := inode(fd)
	must(t, err)
	s := &plainServer{fd: fd, inode: uint64(number), at: at}
	s.w = &worker{file: os.NewFile(uintptr(fd), "listener"), done: make(chan struct{})}
	go s.w.run(plainAnswer)
	t.Cleanup(s.end)
	return s
}

func (s *plainServer) end() {
	if s.w != nil {
		_ = s.w.file.Close()
		<-s.w.done
		s.w = nil
	}
}

// take takes its listener and prepares it for a daemon of this user.
func (s *plainServer) take(t *testing.T) *Taken {
	t.Helper()
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, err)
	defer unix.Close(self)
	taken, err := Take(self, s.fd, s.inode)
	must(t, err)
	must(t, taken.Shareable())
	must(t, taken.Share(os.Getuid()))
	return taken
}

func TestATakenListenerKeepsAllConnectionsUntilTheCutover(t *testing.T) {
	needRoot(t)
	for _, ip := range []string{"127.0.0.1", "0.0.0.0", "::", "::1"} {
		t.Run(ip, func(t *testing.T) {
			old := startPlainServer(t, freePort(t, ip))
			taken := old.take(t)
			g := newGate(t, Options{Address: old.at, Replaces: func(c uint64) bool { return c == taken.Cookie() }})
			if !g.Replacing() {
				t.Error("the gate does not see the server that it replaces")
			}
			must(t, g.Stage(1))
			startWorker(t, g, 1)
			for range 50 {
				wantAnswer(t, old.at, plainAnswer)
			}
			if conn, err := g.Dial(context.Background(), 1); err != nil {
				t.Error(err)
			} else if got, err := answered(conn, nil); err != nil || got != 1 {
				t.Errorf("the probe reaches %d, %v", got, err)
			}
			must(t, g.Cutover(1))
			for range 50 {
				wantAnswer(t, old.at, 1)
			}
			if left, err := taken.Settle(t.Context()); err != nil || left.Left != 0 {
				t.Errorf("settle: %+v, %v", left, err)
			}
			old.end()
			must(t, taken.Close())
			if g.Replacing() {
				t.Error("the gate sees a server that is gone")
			}
			switchOver(t, g, 1, 2)
			for range 50 {
				wantAnswer(t, old.at, 2)
			}
		})
	}
}

// A daemon without privileges cannot measure the order of its listeners on every kernel.
func TestAnUnprivilegedDaemonAdoptsNextToTheServerThatItReplaces(t *testing.T) {
	needRoot(t)
	for name, live := range map[string]bool{"before the cutover": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			old := startPlainServer(t, freePort(t, "127.0.0.1"))
			taken := old.take(t)
			options := Options{Address: old.at, Replaces: func(c uint64) bool { return c == taken.Cookie() }}
			first, next := newGate(t, options), newGate(t, options)
			for gen := 1; gen <= 2; gen++ {
				must(t, first.Stage(gen))
				startWorker(t, first, gen)
			}
			var earlierLive []int
			if live {
				must(t, first.Cutover(1))
			}
			for i, m := range first.Members() {
				if live && m.Gen == 1 {
					earlierLive = []int{i}
				}
				dup, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
				must(t, err)
				must(t, next.Adopt(m.Gen, dup))
			}
			must(t, withoutNetAdmin(func() error { return next.Locate(earlierLive) }))
			want := plainAnswer
			if live {
				want = 1
			}
			for range 50 {
				wantAnswer(t, old.at, want)
			}
			must(t, next.Cutover(2))
			for range 50 {
				wantAnswer(t, old.at, 2)
			}
			old.end()
			must(t, taken.Close())
			for range 50 {
				wantAnswer(t, old.at, 2)
			}
		})
	}
}

// withoutNetAdmin calls a function on a thread without CAP_NET_ADMIN, which ends with it.
func withoutNetAdmin(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err = errors.Join(err, unix.Capset(&header, &data[0])); err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// The kernel spreads new connections over a group until it has a filter.
func TestNoConnectionIsLostWhileAGroupHasNoFilter(t *testing.T) {
	needRoot(t)
	old := startPlainServer(t, freePort(t, "127.0.0.1"))
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, err)
	defer unix.Close(self)
	taken, err := Take(self, old.fd, old.inode)
	must(t, err)
	defer taken.Close()
	must(t, unix.SetsockoptInt(taken.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	deaf, err := taken.joinDeaf(os.Getuid())
	must(t, err)
	const clients = 32
	answers := make(chan error, clients)
	for range clients {
		go func() {
			conn, err := net.DialTimeout("tcp", old.at.tcp.String(), 10*time.Second)
			if got, err := answered(conn, err); err != nil || got != plainAnswer {
				answers <- fmt.Errorf("a client reaches %d, %w", got, err)
				return
			}
			answers <- nil
		}()
	}
	must(t, <-answers) // about half of them wait for their second SYN
	must(t, filter{}.attach(taken.fd))
	must(t, closeListener(deaf))
	for range clients - 1 {
		must(t, <-answers)
	}
}

func TestTheQueueOfATakenListenerOutlivesItsServer(t *testing.T) {
	needRoot(t)
	old := startPlainServer(t, freePort(t, "127.0.0.1"))
	taken := old.take(t)
	g := newGate(t, Options{Address: old.at, Replaces: func(c uint64) bool { return c == taken.Cookie() }})
	old.end()
	conn, err := net.Dial("tcp", old.at.tcp.String())
	must(t, err)
	defer conn.Close()
	if n, err := taken.Queue(); err != nil || n != 1 {
		t.Errorf("the queue has %d connections, %v", n, err)
	}
	must(t, g.Stage(1))
	startWorker(t, g, 1)
	must(t, g.Cutover(1))
	wantAnswer(t, old.at, 1)
	must(t, taken.Restore())
	next, err := net.Dial("tcp", old.at.tcp.String())
	must(t, err)
	defer next.Close()
	if n, err := taken.Queue(); err != nil || n != 2 {
		t.Errorf("after the way back the queue has %d connections, %v", n, err)
	}
	must(t, taken.Close())
}

func TestAListenerWithoutReuseAddressIsNotShared(t *testing.T) {
	needRoot(t)
	old := startPlainServer(t, freePort(t, "127.0.0.1"))
	must(t, unix.SetsockoptInt(old.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0))
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, err)
	defer unix.Close(self)
	taken, err := Take(self, old.fd, old.inode)
	must(t, err)
	defer taken.Close()
	if err := taken.Shareable(); err == nil {
		t.Error("it can be shared")
	}
	if _, err := Take(self, old.fd, old.inode+1); err == nil {
		t.Error("a descriptor that leads to another socket was taken")
	}
}

func TestThePathOfAnotherServerIsTakenOver(t *testing.T) {
	at, err := ParseAddress("unix:" + filepath.Join(t.TempDir(), "web.sock"))
	must(t, err)
	fd, err := listenUnix(at.path, permissions{mode: 0o666, uid: -1, gid: -1}, 100)
	must(t, err)
	number, err := inode(fd)
	must(t, err)
	old := &plainServer{fd: fd, inode: uint64(number), at: at}
	old.w = &worker{file: os.NewFile(uintptr(fd), "listener"), done: make(chan struct{})}
	go old.w.run(plainAnswer)
	t.Cleanup(old.end)
	taken := old.take(t)
	g := newGate(t, Options{Address: at, Replaces: func(c uint64) bool { return c == taken.Cookie() }})
	if !g.Replacing() {
		t.Error("the gate does not see the server that it replaces")
	}
	must(t, g.Stage(1))
	startWorker(t, g, 1)
	wantAnswer(t, at, plainAnswer)
	for range 3 { // given up twice
		must(t, g.Cutover(1))
		wantAnswer(t, at, 1)
		must(t, taken.Restore())
		if m := g.Mend(); len(m.Said) > 0 {
			t.Errorf("mended: %s", m.Said)
		}
		wantAnswer(t, at, plainAnswer)
		must(t, taken.Share(0))
	}
	must(t, g.Cutover(1))
	must(t, g.Close(1))
	wantAnswer(t, at, plainAnswer)
	must(t, taken.Share(0))
	must(t, g.Stage(2))
	startWorker(t, g, 2)
	must(t, g.Cutover(2))
	wantAnswer(t, at, 2)
	if left, err := taken.Settle(t.Context()); err != nil || left.Left != 0 {
		t.Errorf("settle: %+v, %v", left, err)
	}
	old.end()
	must(t, taken.Close())
	must(t, Forget(at.path))
	wantAnswer(t, at, 2)
	if entries, err := os.ReadDir(filepath.Dir(at.path)); err != nil || len(entries) != 2 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

// wantAnswer fails the test unless a client of the address reaches that server.
func wantAnswer(t *testing.T, at Address, want int) {
	t.Helper()
	network, address := "tcp", at.tcp.String()
	if at.path != "" {
		network, address = "unix", at.path
	}
	conn, err := net.Dial(network, address)
	if got, err := answered(conn, err); err != nil || got != want {
		t.Fatalf("a client reaches %d, %v; want %d", got, err, want)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the command that takes a listener runs as root")
	}
}
