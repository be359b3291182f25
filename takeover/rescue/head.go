package rescue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// maxHead limits the head of a request. nginx and gunicorn accept less.
const maxHead = 64 << 10

// errNotHTTP is the error for bytes that do not begin an HTTP/1 request: TLS, HTTP/2, or the frames
// of a WebSocket.
var errNotHTTP = errors.New("not an HTTP/1 request")

// errUpgrade is the error for a request that asks for another protocol. Its connection would have to
// be relayed for as long as it lives.
var errUpgrade = errors.New("asks for another protocol")

// requestLine is the first line of an HTTP/1 request (RFC 9112, section 3).
var requestLine = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ \t\r\n]+ HTTP/1\\.[01]\r?$")

// readHead reads the head of a request, and what follows it in the same bytes.
func readHead(r io.Reader) (head, rest []byte, err error) {
	buf := make([]byte, 0, 4<<10)
	for {
		if end := bytes.Index(buf, []byte("\r\n\r\n")); end >= 0 {
			return buf[:end+2], buf[end+4:], nil
		}
		if line, _, whole := bytes.Cut(buf, []byte("\n")); whole && !requestLine.Match(line) {
			return nil, nil, errNotHTTP
		}
		if len(buf) >= maxHead {
			return nil, nil, fmt.Errorf("the head has more than %d bytes: %w", maxHead, errNotHTTP)
		}
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, len(buf))...)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil && !bytes.Contains(buf, []byte("\r\n\r\n")) {
			return nil, nil, fmt.Errorf("read the head of a request: %w", err)
		}
	}
}

// closing returns the request's head with "Connection: close" in place of the headers that keep the
// connection open: the new server answers with it too, and the client opens its next connection to
// the new server itself.
func closing(head []byte) ([]byte, error) {
	out := make([]byte, 0, len(head)+len("Connection: close\r\n\r\n"))
	for i, line := range bytes.SplitAfter(head, []byte("\r\n")) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch string(bytes.ToLower(name)) {
		case "upgrade":
			return nil, errUpgrade
		case "connection", "keep-alive", "proxy-connection":
			continue
		}
		if i == 0 && !requestLine.Match(bytes.TrimSuffix(line, []byte("\n"))) {
			return nil, errNotHTTP
		}
		out = append(out, line...)
	}
	return append(out, "Connection: close\r\n\r\n"...), nil
}
