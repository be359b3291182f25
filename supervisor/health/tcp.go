package health

import (
	"context"
	"errors"
	"os"
	"time"
)

// The accept queue is polled after firstPoll, then at doubling intervals up to maxPoll: the kernel
// has no event for its length.
const (
	firstPoll = time.Millisecond
	maxPoll   = 50 * time.Millisecond
)

// minOpenTime is how long an accepted connection must stay open.
const minOpenTime = 10 * time.Millisecond

// connect makes a connection, waits until the worker has accepted it, and checks that it stays
// open. The connection alone proves nothing: the kernel completes the handshake even if no worker
// ever accepts.
func (c Check) connect(ctx context.Context, l Listener) Result {
	conn, err := l.Dial(ctx)
	if err != nil {
		return Result{Reason: c.errorReason(ctx, "connect", err)}
	}
	defer conn.Close()
	for wait := firstPoll; ; wait = min(2*wait, maxPoll) {
		queued, err := l.Queued()
		if err != nil {
			return Result{Reason: c.reason("read the accept queue: %v", err)}
		}
		if queued == 0 {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return Result{Reason: c.reason("the check was cancelled")}
			}
			return Result{Reason: c.reason("the connection was not accepted within %s", c.Timeout)}
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(minOpenTime))
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return Result{Answered: true, Reason: c.reason("the connection was closed at once")}
	}
	return Result{OK: true, Answered: true}
}
