package health

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// What is read of one answer at most: a server that has gone wild must not fill the daemon's memory. bodyLimit is of the
// body, enough to find what it must contain; wireLimit is of all bytes, so that headers without an end are bounded too.
const (
	bodyLimit = 64 << 10
	wireLimit = 1 << 20
)

// mostInterim is how many interim answers (100, 103) are passed over before the one that counts.
const mostInterim = 10

// defaultTimeout is for a check that names none: a check always ends.
const defaultTimeout = 5 * time.Second

// Result is one answer, or why there was none.
type Result struct {
	OK       bool
	Answered bool   // the worker took the connection, and answered or hung up
	Status   int    // of the answer
	Reason   string // one sentence; "" when OK
	Took     time.Duration
}

// Run asks once on a listener, and takes no longer than the check's timeout. It follows no redirect and uses no proxy.
func (c Check) Run(ctx context.Context, l Listener) Result {
	c.Path = cmp.Or(c.Path, "/")
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	began := time.Now()
	ctx, cancel := c.limit(ctx)
	defer cancel()
	var r Result
	if c.Kind == TCP {
		r = c.connect(ctx, l)
	} else {
		r = c.get(ctx, l.Dial, began)
	}
	r.Took = time.Since(began)
	return r
}

func (c Check) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	return context.WithTimeout(ctx, c.Timeout)
}

func (c Check) get(ctx context.Context, dial func(context.Context) (net.Conn, error), began time.Time) Result {
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
		return Result{Answered: hungUp(err), Reason: c.explain(ctx, "send the request", err)}
	}
	wire := &io.LimitedReader{R: conn, N: wireLimit}
	resp, err := readHead(wire)
	if err != nil {
		return Result{Answered: wire.N < wireLimit || ctx.Err() == nil && hungUp(err), Reason: c.noHead(ctx, err, wireLimit-wire.N)}
	}
	defer resp.Body.Close() //nolint:errcheck // for reading only
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		reason := c.explain(ctx, "read the answer", err) + " (it began with " + status(resp.StatusCode) + ")"
		return Result{Answered: true, Status: resp.StatusCode, Reason: reason}
	}
	return c.judge(resp, body, time.Since(began))
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

// hungUp reports whether an error is the end of the connection by the worker, which has accepted it then: the kernel keeps
// what nobody accepts for as long as the daemon has the listener.
func hungUp(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// noHead says why what came, n bytes, is no answer.
func (c Check) noHead(ctx context.Context, err error, n int64) string {
	closed := hungUp(err)
	switch {
	case n >= wireLimit:
		return c.say("the answer has more than %d KiB of headers", wireLimit>>10)
	case ctx.Err() == nil && closed && n == 0:
		// A uwsgi socket takes HTTP for a packet that it cannot read, and hangs up; so does the other one the other way.
		return c.say("the connection was closed without an answer (does the server speak another protocol than %q? set health.protocol)",
			c.protocol())
	case ctx.Err() == nil && !closed:
		return c.say("the answer is no HTTP: %v", err)
	}
	return c.explain(ctx, "read the answer", err)
}

// explain turns what went wrong into words for somebody who looks after a site.
func (c Check) explain(ctx context.Context, doing string, err error) string {
	switch {
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return c.say("%s", c.unfinished(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return c.say("connection refused")
	case errors.Is(err, syscall.ENOENT):
		return c.say("there is no socket to connect to: %v", err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return c.say("the connection was reset")
	case hungUp(err):
		return c.say("the connection was closed before the answer was complete")
	}
	return c.say("%s: %v", doing, err)
}

// unfinished says why a check has no result.
func (c *Check) unfinished(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.Canceled) {
		return "the check was cancelled"
	}
	return fmt.Sprintf("no answer within %s", cmp.Or(c.Timeout, defaultTimeout))
}

// say is one sentence about the request.
func (c *Check) say(format string, args ...any) string {
	what := "GET " + c.Path
	if c.Kind == TCP {
		what = "connect"
	}
	return what + ": " + fmt.Sprintf(format, args...)
}

func (c *Check) protocol() string {
	if c.Protocol == "uwsgi" {
		return "uwsgi"
	}
	return "http"
}
