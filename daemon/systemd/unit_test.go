package systemd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestASystemdThatDoesNotAnswerIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		away      time.Duration
		reachable bool
		want      Intent
	}{
		"for a moment":         {2 * time.Second, true, Restart},
		"for good":             {time.Hour, true, Unknown},
		"there is no bus here": {time.Hour, false, Stop},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ask := func(context.Context) (Intent, error) {
					if time.Since(began) < c.away {
						return Unknown, errors.New("connection refused")
					}
					return Restart, nil
				}
				if got := awaitIntent(t.Context(), ask, func() bool { return c.reachable }); got != c.want {
					t.Errorf("the intent is %s, want %s", got, c.want)
				}
			})
		})
	}
}
