package health

import (
	"context"
	"errors"
	"os"
	"time"
)

// The accept queue is looked at again after firstLook, then after twice as long each time up to lastLook: the kernel has no
// event for its length.
const (
	firstLook = time.Millisecond
	lastLook  = 50 * time.Millisecond
)

// closesAtOnce is how long a connection must stay open once it is accepted.
const closesAtOnce = 10 * time.Millisecond

// connect makes a connection, waits until the worker has accepted it, and looks whether it stays open. That it can be made
// proves nothing: the kernel completes the handshake by itself, however long nobody accepts.
func (c Check) connect(ctx context.Context, l Listener) Result {
	conn, err := l.Dial(ctx)
	if err != nil {
		return Result{Reason: c.explain(ctx, "connect", err)}
	}
	defer conn.Close() //nolint:errcheck // nothing is written to it
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		queued, err := l.Queued()
		if err != nil {
			return Result{Reason: c.say("look at the accept queue: %v", err)}
		}
		if queued == 0 {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return Result{Reason: c.say("the check was cancelled")}
			}
			return Result{Reason: c.say("the connection was not accepted within %s", c.Timeout)}
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(closesAtOnce))
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return Result{Answered: true, Reason: c.say("the connection was closed at once")}
	}
	return Result{OK: true, Answered: true}
}
