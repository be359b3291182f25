package socket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// worker accepts on a copy of a generation's descriptor, as a worker that inherited it does. It
// answers every connection with the generation's number and closes it.
type worker struct {
	file *os.File
	done chan struct{}
}

func startWorker(t testing.TB, g *Gate, gen int) *worker {
	t.Helper()
	fd, err := g.FD(gen)
	must(t, err)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	w := &worker{file: os.NewFile(uintptr(dup), "listener"), done: make(chan struct{})}
	go w.run(gen)
	t.Cleanup(w.stop)
	return w
}

func (w *worker) run(gen int) {
	defer close(w.done)
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		conn := -1
		err := raw.Read(func(fd uintptr) bool {
			conn, _, err = unix.Accept4(int(fd), unix.SOCK_CLOEXEC)
			return !errors.Is(err, unix.EAGAIN)
		})
		if err != nil || conn < 0 {
			return
		}
		_, _ = unix.Write(conn, fmt.Appendf(nil, "%d", gen))
		_ = unix.Close(conn)
	}
}

func (w *worker) stop() {
	_ = w.file.Close()
	<-w.done
}

// answered returns the generation that answers a connection.
func answered(conn net.Conn, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // no TIME_WAIT: a test makes more connections than there are ports
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // turns a hang into a test failure
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}

// visit connects as a client does.
func visit(g *Gate) (int, error) {
	return answered(dialGate(g))
}

func dialGate(g *Gate) (net.Conn, error) {
	network, addr := clientTarget(g)
	return net.Dial(network, addr)
}

// dialed returns the generation that answers at a TCP address.
func dialed(target string) (int, error) {
	conn, err := net.Dial("tcp", target)
	return answered(conn, err)
}

// clientTarget returns what a client dials.
func clientTarget(g *Gate) (network, addr string) {
	a := g.options.Address
	if path, ok := strings.CutPrefix(g.Address(), "unix:"); ok {
		return "unix", path
	}
	if a.network == tcp {
		return "tcp", dialTargets(a.tcp)[0].String()
	}
	return "tcp", g.Address()
}

func wantVisit(t testing.TB, g *Gate, want int) {
	t.Helper()
	if got, err := visit(g); err != nil || got != want {
		t.Fatalf("a client reaches generation %d, %v; want %d", got, err, want)
	}
}

func wantProbe(t testing.TB, g *Gate, gen int) {
	t.Helper()
	if got, err := answered(g.Dial(t.Context(), gen)); err != nil || got != gen {
		t.Fatalf("a probe of generation %d reaches %d, %v", gen, got, err)
	}
}
