package control

import (
	"net"
	"sync"
)

// limited is a listener that has only so many connections open at once; the others wait in the kernel's queue. It is not
// netutil.LimitListener, because that hides the descriptor which SO_PEERCRED needs.
type limited struct {
	*net.UnixListener
	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(l *net.UnixListener, most int) net.Listener {
	return &limited{UnixListener: l, free: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits for room, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &counted{UnixConn: conn, leave: sync.OnceFunc(func() { <-l.free })}, nil
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
