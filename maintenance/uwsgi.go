package maintenance

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// speaking is a listener whose connections speak HTTP, whichever protocol their client speaks.
type speaking struct {
	net.Listener
	open *sync.WaitGroup // its connections
}

func (s speaking) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s.open.Add(1)
	return &translated{Conn: c, in: bufio.NewReader(c), closed: sync.OnceFunc(s.open.Done)}, nil
}

// translated is a connection whose request is read as HTTP. A client of the uwsgi protocol (nginx's
// uwsgi_pass) sends a packet of variables instead of a request line, and takes the answer in HTTP.
type translated struct {
	net.Conn
	in     *bufio.Reader
	once   sync.Once
	head   []byte // what of a translated request is still to be read
	err    error
	closed func()
}

// Read returns the bytes of the request, in HTTP.
func (t *translated) Read(b []byte) (int, error) {
	t.once.Do(func() { t.head, t.err = t.begin() })
	if t.err != nil {
		return 0, t.err
	}
	if len(t.head) > 0 {
		n := copy(b, t.head)
		t.head = t.head[n:]
		return n, nil
	}
	return t.in.Read(b)
}

// Close closes the connection.
func (t *translated) Close() error {
	defer t.closed()
	return t.Conn.Close()
}

// CloseWrite lets a client that is still sending read the answer first (net/http does that).
func (t *translated) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// begin reads the head of a uwsgi request, and returns it in HTTP; nil if the client speaks HTTP. The
// first byte of a uwsgi packet is its modifier, which is 0 for a web request. No HTTP request begins
// with that.
func (t *translated) begin() ([]byte, error) {
	first, err := t.in.Peek(1)
	if err != nil || first[0] != 0 {
		return nil, err
	}
	var header [4]byte // modifier1, size of the variables (little endian), modifier2
	if _, err := io.ReadFull(t.in, header[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.LittleEndian.Uint16(header[1:3]))
	if _, err := io.ReadFull(t.in, packet); err != nil {
		return nil, err
	}
	vars, err := variables(packet)
	if err != nil {
		return nil, err
	}
	method := http.MethodGet
	if vars["REQUEST_METHOD"] == http.MethodHead {
		method = http.MethodHead
	}
	head := method + " / HTTP/1.0\r\n"
	// The server must know of a body: it gives the client time to send it before it closes.
	if n, err := strconv.ParseInt(vars["CONTENT_LENGTH"], 10, 64); err == nil && n > 0 {
		head += fmt.Sprintf("Content-Length: %d\r\n", n)
	}
	return []byte(head + "\r\n"), nil
}

// variables parses the variables of a uwsgi packet: names and values, each after its length in two
// bytes.
func variables(packet []byte) (map[string]string, error) {
	vars := make(map[string]string)
	next := func() (string, error) {
		if len(packet) < 2 {
			return "", io.ErrUnexpectedEOF
		}
		n := int(binary.LittleEndian.Uint16(packet))
		if len(packet) < 2+n {
			return "", io.ErrUnexpectedEOF
		}
		s := string(packet[2 : 2+n])
		packet = packet[2+n:]
		return s, nil
	}
	for len(packet) > 0 {
		name, err := next()
		if err != nil {
			return nil, err
		}
		if vars[name], err = next(); err != nil {
			return nil, err
		}
	}
	return vars, nil
}
