package supervisor

import (
	"testing"
	"time"
)

func TestAWorkerIsKilledWhenItsMessageSays(t *testing.T) {
	for name, c := range map[string]struct {
		drain  time.Duration
		failed *failure
		tried  bool
		want   time.Duration
	}{
		"it served":                            {drain: time.Minute, want: time.Minute},
		"it was refused":                       {drain: time.Minute, failed: &failure{}, want: deathBed},
		"it was refused, and drains sooner":    {drain: time.Second, failed: &failure{}, want: time.Second},
		"it was refused after it had a canary": {drain: time.Minute, failed: &failure{}, tried: true, want: time.Minute},
	} {
		in := &instance{proc: &Process{Drain: c.drain}, gen: &generation{tried: c.tried}}
		if c.failed != nil {
			in.gen.failure = c.failed
		}
		if got := in.drainLimit(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
