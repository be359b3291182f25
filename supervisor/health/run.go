package health

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bodyLimit is how much of an answer's body is read: enough to find what it must contain.
const bodyLimit = 64 << 10

// userAgent names the asker in the app's access log.
const userAgent = "superctl/health"

// Result is one answer, or why there was none.
type Result struct {
	OK       bool
	Answered bool   // the server answered, well or badly
	Status   int    // of the answer
	Reason   string // one sentence; "" when OK
	Took     time.Duration
}

// Run asks once, over a connection that dial opens, and takes no longer than the check's timeout.
func (c Check) Run(ctx context.Context, dial func(context.Context) (net.Conn, error)) Result {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r := c.ask(ctx, dial)
	r.Took = time.Since(began)
	return r
}

func (c Check) ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) Result {
	conn, err := dial(ctx)
	if err != nil {
		return Result{Reason: c.explain(ctx, "connect", err)}
	}
	defer conn.Close() //nolint:errcheck // the answer is read, or there is none
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := conn.Write(c.request()); err != nil {
		return Result{Reason: c.explain(ctx, "send the request", err)}
	}
	resp, body, err := read(conn) //nolint:bodyclose // read has closed it
	if err != nil {
		return Result{Reason: c.explain(ctx, "read the answer", err)}
	}
	return c.judge(resp, body)
}

// read reads one answer. uWSGI answers its own protocol with HTTP too.
func read(conn net.Conn) (*http.Response, []byte, error) {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // for reading only
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	return resp, body, err
}

func (c Check) judge(resp *http.Response, body []byte) Result {
	r := Result{Answered: true, Status: resp.StatusCode}
	switch {
	case !c.healthy(resp.StatusCode):
		r.Reason = fmt.Sprintf("GET %s: %d %s", c.Path, resp.StatusCode, http.StatusText(resp.StatusCode))
		if resp.StatusCode == http.StatusBadRequest && c.Host == "" {
			r.Reason += " (does the app want another Host? set health.host)"
		}
	case c.Contains != "" && !bytes.Contains(body, []byte(c.Contains)):
		r.Reason = fmt.Sprintf("GET %s: the answer does not contain %q", c.Path, c.Contains)
	default:
		r.OK = true
	}
	return r
}

func (c Check) healthy(status int) bool {
	switch {
	case len(c.Status) > 0:
		return slices.Contains(c.Status, status)
	case c.AnyAnswer:
		return status < 500
	default:
		return status >= 200 && status < 400
	}
}

// explain turns what went wrong into words for somebody who looks after a site.
func (c Check) explain(ctx context.Context, doing string, err error) string {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("GET %s: no answer within %s", c.Path, c.Timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("GET %s: connection refused", c.Path)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Sprintf("GET %s: the connection was reset", c.Path)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Sprintf("GET %s: the connection was closed before the answer was complete", c.Path)
	}
	return fmt.Sprintf("GET %s: %s: %v", c.Path, doing, err)
}

// request is what goes over the wire.
func (c Check) request() []byte {
	host := c.Host
	if host == "" {
		host = "localhost"
	}
	if c.Protocol == "uwsgi" {
		return c.uwsgi(host)
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\nConnection: close\r\n\r\n", c.Path, host, userAgent)
}

// uwsgi is the request in uWSGI's own protocol: modifier1 0, the length of the variables, modifier2 0, then each variable's
// name and value, each behind its length, all little-endian 16 bit (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html).
func (c Check) uwsgi(host string) []byte {
	path, query, _ := strings.Cut(c.Path, "?")
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "80"
	}
	var vars []byte
	for _, kv := range [][2]string{
		{"REQUEST_METHOD", "GET"},
		{"REQUEST_URI", c.Path},
		{"PATH_INFO", path},
		{"QUERY_STRING", query},
		{"SCRIPT_NAME", ""},
		{"SERVER_PROTOCOL", "HTTP/1.1"},
		{"SERVER_NAME", name},
		{"SERVER_PORT", port},
		{"HTTP_HOST", host},
		{"HTTP_USER_AGENT", userAgent},
		{"REMOTE_ADDR", "127.0.0.1"},
		{"CONTENT_LENGTH", ""},
		{"CONTENT_TYPE", ""},
	} {
		for _, s := range kv {
			vars = binary.LittleEndian.AppendUint16(vars, uint16(len(s)))
			vars = append(vars, s...)
		}
	}
	head := binary.LittleEndian.AppendUint16([]byte{0}, uint16(len(vars)))
	return append(append(head, 0), vars...)
}
