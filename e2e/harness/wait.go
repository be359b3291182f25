package harness

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Patience is how long a test waits for one thing: a condition, an answer, the end of a command. Only a
// defect takes so long, also on a machine that is slow and busy.
const Patience = 5 * time.Minute

// Limited returns a context that ends after Patience.
func Limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, Patience, fmt.Errorf("not within %s", Patience))
}

// Eventually waits until a condition that another process makes true is true. After Patience it ends the
// test, with what shows return. Between two looks it waits for twice as long as the last one took: a look
// is often a command, and the other process needs the processor.
func Eventually(t T, what string, cond func() bool, shows ...func() string) {
	t.Helper()
	const shortest, longest = 20 * time.Millisecond, 250 * time.Millisecond
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		began := time.Now()
		if cond() {
			return
		}
		select {
		case <-time.After(min(max(2*time.Since(began), shortest), longest)):
		case <-late.C:
			var text strings.Builder
			for _, show := range shows {
				text.WriteString("\n" + show())
			}
			t.Fatalf("not within %s: %s%s", Patience, what, text.String())
		}
	}
}

// Changes waits until look reports that it is done. It looks again when the channel that look returned is
// closed. It reports whether look was done before ended was closed, and within Patience; a nil ended is
// never closed.
func Changes(ended <-chan struct{}, look func() (changed <-chan struct{}, done bool)) bool {
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		changed, done := look()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ended:
			_, done := look() // what came with the end
			return done
		case <-late.C:
			return false
		}
	}
}

// endsWithin reports whether a channel is closed within a time.
func endsWithin(limit time.Duration, ended <-chan struct{}) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-ended:
		return true
	case <-late.C:
		return false
	}
}
