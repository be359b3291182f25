package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"superctl/socket"
)

const (
	// headLimit is how long a client may take to send the rest of a request's head.
	headLimit = 20 * time.Second
	// dialLimit is how long the new server may take to accept the connection.
	dialLimit = 10 * time.Second
	// relayLimit is how long a relayed request and its answer may take.
	relayLimit = 10 * time.Minute
	// partingLimit is how long a client may take to close its connection after the answer. Closing it
	// before the client has read everything could reset it.
	partingLimit = 2 * time.Second
)

// relay relays one request and its answer, and closes the connection. asked is false if the client
// closed the connection instead of sending a request.
func relay(fd int) (asked bool, err error) {
	file := os.NewFile(uintptr(fd), "connection")
	conn, err := net.FileConn(file) // a duplicate; the old server has closed its own, so that its flags may change
	_ = file.Close()
	if err != nil {
		return false, fmt.Errorf("connection: %w", err)
	}
	client, ok := conn.(duplex)
	if !ok {
		return false, errors.Join(fmt.Errorf("connection: %T", conn), conn.Close())
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(headLimit))
	head, rest, err := readHead(client)
	if errors.Is(err, io.EOF) && len(rest) == 0 {
		return false, nil
	}
	if err == nil {
		head, err = closing(head)
	}
	if err != nil {
		return true, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()
	server, err := dial(ctx, client.LocalAddr())
	if err != nil {
		return true, err
	}
	defer server.Close()
	return true, exchange(client, server, append(head, rest...))
}

// duplex is a connection of which either side can be closed.
type duplex interface {
	net.Conn
	CloseWrite() error
}

// dial connects to the address that the client had connected to, on which the new server serves now.
func dial(ctx context.Context, address net.Addr) (duplex, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	at := address.String()
	if address.Network() == "unix" {
		at = socket.PublicPath(at) // the connection has the name that the old server's listener was bound to
	}
	conn, err := d.DialContext(ctx, address.Network(), at)
	if err != nil {
		return nil, fmt.Errorf("connect to the new server: %w", err)
	}
	both, ok := conn.(duplex)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect to the new server: %T", conn), conn.Close())
	}
	return both, nil
}

// exchange sends the beginning of a request, then copies both ways until the server has closed its
// side.
func exchange(client, server duplex, begin []byte) error {
	end := time.Now().Add(relayLimit)
	_ = client.SetDeadline(end)
	_ = server.SetDeadline(end)
	if _, err := server.Write(begin); err != nil {
		return fmt.Errorf("send to the new server: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client) // ends with the client, or with the deadline below
	}()
	n, err := io.Copy(client, server)
	if err == nil && n == 0 {
		err = errors.New("the new server did not answer")
	}
	_ = client.CloseWrite()
	_ = client.SetReadDeadline(time.Now().Add(partingLimit))
	<-done
	return err
}
