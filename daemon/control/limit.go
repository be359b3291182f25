package control

import (
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
)

// limited is a listener that has only so many connections open at once; the others wait in the kernel's queue, and take the
// place of those that ask for nothing. It is not netutil.LimitListener, because that hides the descriptor which SO_PEERCRED
// needs.
type limited struct {
	*net.UnixListener
	free   chan struct{}
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	idle []*counted // guarded by mu: those that have not asked for anything yet, the oldest first
}

func limit(l *net.UnixListener, most int) *limited {
	return &limited{UnixListener: l, free: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits for a connection, then for room.
func (l *limited) Accept() (net.Conn, error) {
	conn, err := l.AcceptUnix()
	if errors.Is(err, os.ErrDeadlineExceeded) { // Server.Keep
		<-l.closed
		return nil, net.ErrClosed
	}
	if err != nil {
		return nil, err
	}
	select {
	case l.free <- struct{}{}:
	default:
		l.evict()
		select {
		case l.free <- struct{}{}:
		case <-l.closed:
			_ = conn.Close() // nobody has read from it
			return nil, net.ErrClosed
		}
	}
	c := &counted{UnixConn: conn, leave: sync.OnceFunc(func() { <-l.free })}
	l.mu.Lock()
	l.idle = append(l.idle, c)
	l.mu.Unlock()
	return c, nil
}

// evict hangs up on the connection that has been silent for longest.
func (l *limited) evict() {
	l.mu.Lock()
	var oldest *counted
	if len(l.idle) > 0 {
		oldest, l.idle = l.idle[0], l.idle[1:]
	}
	l.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close() // it is in nobody's interest
	}
}

// follow is the ConnState of the server: a connection that asks for something is not silent.
func (l *limited) follow(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(c *counted) bool { return c == conn })
}

// Close ends Accept, also one that waits for room.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.UnixListener.Close()
}

// counted makes room when it is closed.
type counted struct {
	*net.UnixConn
	leave func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.leave()
	return c.UnixConn.Close()
}
