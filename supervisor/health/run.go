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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What is read of one answer at most: a server that has gone wild must not fill the daemon's memory. bodyLimit is of the
// body, enough to find what it must contain; wireLimit is of all bytes, so that headers without an end are bounded too.
const (
	bodyLimit = 64 << 10
	wireLimit = 1 << 20
)

// varsLimit is what fits into the 16-bit length of a packet of uWSGI's protocol.
const varsLimit = 1<<16 - 1

// mostInterim is how many interim answers (100, 103) are passed over before the one that counts.
const mostInterim = 10

// defaultTimeout is for a check that names none: a check always ends.
const defaultTimeout = 5 * time.Second

// userAgent names the asker in the app's access log.
const userAgent = "superctl/health"

var errTooLong = errors.New("the path and the host are too long for uWSGI's protocol")

// Result is one answer, or why there was none.
type Result struct {
	OK       bool
	Answered bool   // the server answered, well or badly
	Status   int    // of the answer
	Reason   string // one sentence; "" when OK
	Took     time.Duration
}

// Run asks once, over a connection that dial opens, and takes no longer than the check's timeout. It follows no redirect
// and uses no proxy.
func (c Check) Run(ctx context.Context, dial func(context.Context) (net.Conn, error)) Result {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r := c.ask(ctx, dial)
	r.Took = time.Since(began)
	return r
}

func (c Check) ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) Result {
	request, err := c.request()
	if err != nil {
		return Result{Reason: c.say("%v", err)}
	}
	conn, err := dial(ctx)
	if err != nil {
		return Result{Reason: c.explain(ctx, "connect", err)}
	}
	defer conn.Close() //nolint:errcheck // the answer is read, or there is none
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := conn.Write(request); err != nil {
		return Result{Reason: c.explain(ctx, "send the request", err)}
	}
	wire := &io.LimitedReader{R: conn, N: wireLimit}
	resp, err := readHead(wire)
	if err != nil {
		return Result{Answered: wire.N < wireLimit, Reason: c.noHead(ctx, err, wireLimit-wire.N)}
	}
	defer resp.Body.Close() //nolint:errcheck // for reading only
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return Result{Answered: true, Status: resp.StatusCode, Reason: c.explain(ctx, "read the answer", err) + " (it began with " + status(resp.StatusCode) + ")"}
	}
	return c.judge(resp, body)
}

// readHead reads the status and the headers. uWSGI answers its own protocol with HTTP too.
func readHead(wire io.Reader) (*http.Response, error) {
	r := bufio.NewReader(wire)
	for range mostInterim {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", mostInterim)
}

// noHead says why what came, n bytes, is no answer.
func (c Check) noHead(ctx context.Context, err error, n int64) string {
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	switch {
	case n >= wireLimit:
		return c.say("the answer has more than %d KiB of headers", wireLimit>>10)
	case ctx.Err() == nil && closed && n == 0:
		// A uwsgi socket takes HTTP for a packet that it cannot read, and hangs up; so does the other one the other way.
		return c.say("the connection was closed without an answer (does the server speak another protocol than %q? set health.protocol)", c.protocol())
	case ctx.Err() == nil && !closed:
		return c.say("the answer is no HTTP: %v", err)
	}
	return c.explain(ctx, "read the answer", err)
}

func (c Check) judge(resp *http.Response, body []byte) Result {
	r := Result{Answered: true, Status: resp.StatusCode}
	switch {
	case !c.healthy(resp.StatusCode):
		r.Reason = c.say("%s%s", status(resp.StatusCode), c.hint(resp.StatusCode))
	case c.Contains != "" && !bytes.Contains(body, []byte(c.Contains)):
		r.Reason = c.say("%s, but the answer does not contain %q", status(resp.StatusCode), c.Contains)
	default:
		r.OK = true
	}
	return r
}

// hint is what to look at first.
func (c Check) hint(code int) string {
	switch {
	case len(c.Status) > 0:
		return fmt.Sprintf(", and health.status wants %s", list(c.Status))
	case code == http.StatusBadRequest && c.protocol() == "uwsgi":
		return " (does the server speak HTTP rather than uwsgi? set health.protocol)"
	case code == http.StatusBadRequest && c.Host == "":
		return " (does the app want another Host, as Django's ALLOWED_HOSTS does? set health.host)"
	}
	return ""
}

func status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

func list(codes []int) string {
	words := make([]string, len(codes))
	for i, code := range codes {
		words[i] = strconv.Itoa(code)
	}
	return strings.Join(words, " or ")
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
	case errors.Is(ctx.Err(), context.Canceled):
		return c.say("the check was cancelled")
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return c.say("no answer within %s", c.Timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return c.say("connection refused")
	case errors.Is(err, syscall.ENOENT):
		return c.say("there is no socket to connect to: %v", err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return c.say("the connection was reset")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
		return c.say("the connection was closed before the answer was complete")
	}
	return c.say("%s: %v", doing, err)
}

// say is one sentence about the request.
func (c Check) say(format string, args ...any) string {
	return "GET " + c.Path + ": " + fmt.Sprintf(format, args...)
}

func (c Check) protocol() string {
	if c.Protocol == "uwsgi" {
		return "uwsgi"
	}
	return "http"
}

// request is what goes over the wire.
func (c Check) request() ([]byte, error) {
	host := c.Host
	if host == "" {
		host = "localhost"
	}
	if c.protocol() == "uwsgi" {
		return c.uwsgi(host)
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\nConnection: close\r\n\r\n", c.Path, host, userAgent), nil
}

// uwsgi is the request in uWSGI's own protocol: modifier1 0, the length of the variables, modifier2 0, then each variable's
// name and value, each behind its length, all little-endian 16 bit (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html).
func (c Check) uwsgi(host string) ([]byte, error) {
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
			if len(s) > varsLimit {
				return nil, errTooLong
			}
			vars = binary.LittleEndian.AppendUint16(vars, uint16(len(s)))
			vars = append(vars, s...)
		}
	}
	if len(vars) > varsLimit {
		return nil, errTooLong
	}
	head := binary.LittleEndian.AppendUint16([]byte{0}, uint16(len(vars)))
	return append(append(head, 0), vars...), nil
}
