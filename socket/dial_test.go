package socket

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestManyProbesAtOnceReachTheirGenerations(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		switchOver(t, g, 0, 1)
		must(t, g.Stage(2))
		must(t, g.Stage(3))
		startWorker(t, g, 2)
		startWorker(t, g, 3)
		var all sync.WaitGroup
		for i := range 2 * maxDials {
			all.Go(func() {
				gen := 1 + i%3
				if got, err := answered(g.Dial(t.Context(), gen)); err != nil || got != gen {
					t.Errorf("a probe of generation %d reaches %d, %v", gen, got, err)
				}
			})
		}
		all.Wait()
	})
}

func TestADialEndsWithItsContext(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	must(t, g.Stage(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Dial(ctx, 1)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantNoProbes(t, g)
}

func wantNoProbes(t testing.TB, g *Gate) {
	t.Helper()
	if n := len(g.mechanism.(*steer).probes); n > 0 {
		t.Errorf("%d rules for probes are left in the filter", n)
	}
}

func TestADualStackListenerIsProbedByBothFamilies(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "::")})
	switchOver(t, g, 0, 1)
	must(t, g.Stage(2))
	startWorker(t, g, 2)
	s := g.mechanism.(*steer)
	for _, target := range dialTargets(s.at) {
		for gen := 1; gen <= 2; gen++ {
			if got, err := answered(s.dial(t.Context(), gen, target)); err != nil || got != gen {
				t.Errorf("a probe of generation %d by %s reaches %d, %v", gen, target, got, err)
			}
		}
		if got, err := dialed(target.String()); err != nil || got != 1 {
			t.Errorf("a client of %s reaches %d, %v", target, got, err)
		}
	}
}

// BenchmarkDial measures one probe of the public address: two changes of the filter and a
// connection.
func BenchmarkDial(b *testing.B) {
	g := newGate(b, Options{Address: freePort(b, "127.0.0.1")})
	must(b, g.Stage(1))
	startWorker(b, g, 1)
	for b.Loop() {
		wantProbe(b, g, 1)
	}
}
