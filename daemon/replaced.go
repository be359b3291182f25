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
	if n, there, err := notice.Read(app); err == nil && there && n.Elsewhere && serves(n) {
		return &supervisor.WaitError{
			Reason: n.Server + " still serves",
			Over:   func(ctx context.Context) { awaitNoticed(ctx, app, n) },
		}
	}
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

// serves reports whether the server of a notice still runs.
func serves(n notice.Notice) bool {
	stat, err := proc.ReadStat(n.PID)
	return err == nil && stat.Start == n.Start && !stat.Ended()
}

// awaitNoticed returns when the server has ended, the takeover has removed its notice, or ctx ends.
func awaitNoticed(ctx context.Context, app string, n notice.Notice) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for serves(n) {
		if _, there, err := notice.Read(app); err == nil && !there {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
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
