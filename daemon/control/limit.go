package control

import (
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
)

// limitedListener is a listener that bounds the number of open connections. Further ones wait in
// the kernel's queue, and replace connections that have sent no request. netutil.LimitListener
// would hide the descriptor that SO_PEERCRED needs. The socket can be replaced while it serves.
type limitedListener struct {
	free   chan struct{} // holds one value per open connection
	closed chan struct{}
	once   sync.Once

	unheard sync.WaitGroup // connections that have sent no whole request so far

	mu     sync.Mutex
	socket *net.UnixListener // guarded by mu
	idle   []*limitedConn    // guarded by mu: connections without a request so far, oldest first
}

func limit(l *net.UnixListener, most int) *limitedListener {
	return &limitedListener{socket: l, free: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits for a connection, then for a free place.
func (l *limitedListener) Accept() (net.Conn, error) {
	conn, err := l.accept()
	if errors.Is(err, os.ErrDeadlineExceeded) { // Server.LeaveToNext
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
			_ = conn.Close() // nothing was read from it
			return nil, net.ErrClosed
		}
	}
	l.unheard.Add(1)
	c := &limitedConn{
		UnixConn: conn, release: sync.OnceFunc(func() { <-l.free }), heard: sync.OnceFunc(l.unheard.Done),
	}
	l.mu.Lock()
	l.idle = append(l.idle, c)
	l.mu.Unlock()
	return c, nil
}

// accept waits for a connection to the socket, and to the one that replaces it.
func (l *limitedListener) accept() (*net.UnixConn, error) {
	for {
		socket := l.current()
		conn, err := socket.AcceptUnix()
		if err == nil || l.current() == socket {
			return conn, err
		}
	}
}

func (l *limitedListener) current() *net.UnixListener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.socket
}

// replace closes the socket and accepts from another one, unless the listener is closed.
func (l *limitedListener) replace(socket *net.UnixListener) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}
	before := l.socket
	l.socket = socket
	return before.Close()
}

// Addr returns the address of the socket.
func (l *limitedListener) Addr() net.Addr { return l.current().Addr() }

// evict closes the connection that has been idle for longest.
func (l *limitedListener) evict() {
	l.mu.Lock()
	var oldest *limitedConn
	if len(l.idle) > 0 {
		oldest, l.idle = l.idle[0], l.idle[1:]
	}
	l.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close() // its error does not matter
	}
}

// connState is the server's ConnState callback: a connection with a request is no longer idle.
func (l *limitedListener) connState(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(c *limitedConn) bool { return c == conn })
}

// Close ends Accept, even while it waits for a free place.
func (l *limitedListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.once.Do(func() { close(l.closed) })
	return l.socket.Close()
}

// limitedConn is a connection that frees its place when it is closed.
type limitedConn struct {
	*net.UnixConn
	release func()
	heard   func() // its request is complete, or will never be
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	defer c.release()
	defer c.heard()
	return c.UnixConn.Close()
}
