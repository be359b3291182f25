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

// Limits of what is read of one answer, so that a broken server cannot exhaust the daemon's memory.
// bodyLimit is for the body, and large enough to search it for Contains; wireLimit is for all
// bytes, so that endless headers are bounded too.
const (
	bodyLimit = 64 << 10
	wireLimit = 1 << 20
)

// maxInterim is how many interim answers (100, 103) are skipped before the final one.
const maxInterim = 10

// defaultTimeout applies to a check without a timeout: a check always ends.
const defaultTimeout = 5 * time.Second

// Result is the outcome of one check or one round.
type Result struct {
	OK       bool
	Answered bool   // the worker accepted the connection, and answered or closed it
	Status   int    // of the answer
	Reason   string // one sentence; "" when OK
	Took     time.Duration
}

// Run runs the check once on a listener, within the check's timeout. It follows no redirect and
// uses no proxy.
func (c Check) Run(ctx context.Context, l Listener) Result {
	c.Path = cmp.Or(c.Path, "/")
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	began := time.Now()
	ctx, cancel := c.withTimeout(ctx)
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

func (c Check) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	return context.WithTimeout(ctx, c.Timeout)
}

func (c Check) get(ctx context.Context, dial func(context.Context) (net.Conn, error), began time.Time) Result {
	request, err := c.request()
	if err != nil {
		return Result{Reason: c.reason("%v", err)}
	}
	conn, err := dial(ctx)
	if err != nil {
		return Result{Reason: c.errorReason(ctx, "connect", err)}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := conn.Write(request); err != nil {
		return Result{Answered: closedByWorker(err), Reason: c.errorReason(ctx, "send the request", err)}
	}
	wire := &io.LimitedReader{R: conn, N: wireLimit}
	resp, err := readHead(wire)
	if err != nil {
		answered := wire.N < wireLimit || ctx.Err() == nil && closedByWorker(err)
		return Result{Answered: answered, Reason: c.noHeadReason(ctx, err, wireLimit-wire.N)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		reason := c.errorReason(ctx, "read the answer", err) + " (it began with " + status(resp.StatusCode) + ")"
		return Result{Answered: true, Status: resp.StatusCode, Reason: reason}
	}
	return c.judge(resp, body, time.Since(began))
}

// readHead reads the status line and the headers. uWSGI answers its own protocol in HTTP too.
func readHead(wire io.Reader) (*http.Response, error) {
	r := bufio.NewReader(wire)
	for range maxInterim {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", maxInterim)
}

// closedByWorker reports whether an error means that the worker closed the connection. The worker
// must have accepted it then: while the daemon holds the listener, the kernel keeps unaccepted
// connections open.
func closedByWorker(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// noHeadReason returns why the n bytes that arrived are not an answer.
func (c Check) noHeadReason(ctx context.Context, err error, n int64) string {
	closed := closedByWorker(err)
	switch {
	case n >= wireLimit:
		return c.reason("the answer has more than %d KiB of headers", wireLimit>>10)
	case ctx.Err() == nil && closed && n == 0:
		// A uwsgi socket cannot parse HTTP and closes the connection; so does an
		// HTTP server that gets uwsgi.
		return c.reason("the connection was closed without an answer "+
			"(does the server speak another protocol than %q? set health.protocol)", c.protocol())
	case ctx.Err() == nil && !closed:
		return c.reason("the answer is not HTTP: %v", err)
	}
	return c.errorReason(ctx, "read the answer", err)
}

// errorReason turns an error into a reason for the person on call.
func (c Check) errorReason(ctx context.Context, doing string, err error) string {
	switch {
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return c.reason("%s", c.unfinishedReason(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return c.reason("connection refused")
	case errors.Is(err, syscall.ENOENT):
		return c.reason("the socket does not exist: %v", err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return c.reason("the connection was reset")
	case closedByWorker(err):
		return c.reason("the connection was closed before the answer was complete")
	}
	return c.reason("%s: %v", doing, err)
}

// unfinishedReason returns why a check has no result.
func (c *Check) unfinishedReason(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.Canceled) {
		return "the check was cancelled"
	}
	return fmt.Sprintf("no answer within %s", cmp.Or(c.Timeout, defaultTimeout))
}

// reason returns a reason that begins with the request.
func (c *Check) reason(format string, args ...any) string {
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
