package daemon

import (
	"context"
	"fmt"
	"time"

	"superctl/proc"
	"superctl/supervisor"
	"superctl/takeover/notice"
)

// replacedServer returns a function that reports whether a listener belongs to the server that a
// takeover replaces by the app.
func replacedServer(app string) func(cookie uint64) bool {
	return func(cookie uint64) bool { return notice.Has(app, cookie) }
}

// checkReplaced has a start wait while the server that the app replaces still listens: a start does
// not prove the release before it gets connections, but the switch of the takeover does.
func checkReplaced(app string, gates []supervisor.Gate) error {
	for _, g := range gates {
		if g, ok := g.(gate); ok && g.Replacing() {
			n, _, err := notice.Read(app)
			if err != nil {
				return err
			}
			return &supervisor.WaitError{
				Reason: fmt.Sprintf("%s still serves %s", n.Server, g.Address()),
				Over:   func(ctx context.Context) { awaitReplaced(ctx, n, g) },
			}
		}
	}
	return nil
}

// awaitReplaced returns when the old server does not listen any more, or ctx ends.
func awaitReplaced(ctx context.Context, n notice.Notice, g gate) {
	_ = proc.AwaitEnd(ctx, n.PID, n.Start) // without it, the listener is looked at all the time
	// Its workers, and the takeover command, may have the listener open for longer: the kernel has no
	// event for the end of another user's listener.
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for g.Replacing() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
