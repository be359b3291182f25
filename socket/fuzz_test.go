package socket

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
)

// FuzzGate performs steps on a gate in any order, while clients keep connecting. No connection may
// be lost, and each must reach a generation that was allowed new connections at some instant
// between the connection's start and end.
//
// Each byte is one step: the lower four bits select the operation, the upper four the generation.
func FuzzGate(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x01\x12\x04\x00\x01\x12\x04"), false) // switches
	// many generations, closed from the oldest on
	f.Add([]byte("\x00\x02\x00\x00\x00\x12\x04\x12\x04\x12\x04\x00\x00\x22\x04\x04\x04"), false)
	// canaries, ended and promoted
	f.Add([]byte("\x00\x02\x00\x03\x13\x05\x03\x12\x04\x00\x03\x13\x02\x05"), false)
	f.Add([]byte("\x00\x02\x00\x12\x02\x12\x02\x12\x02\x01\x11\x04"), false) // back and forth
	// spares in the middle
	f.Add([]byte("\x00\x00\x00\x00\x02\x14\x01\x04\x24\x00\x00\x32\x04\x14\x04\x11\x00\x24"), false)
	f.Add([]byte("\x00\x02\x00\x01\x12\x04\x00\x02\x12\x04\x00\x12\x02\x04"), true)
	f.Fuzz(func(t *testing.T, steps []byte, dual bool) {
		host := "127.0.0.1"
		if dual {
			host = "::"
		}
		r := newFuzzRun(t, host)
		for _, step := range steps[:min(len(steps), 40)] {
			r.step(step&0xf%7, int(step>>4))
		}
		r.end()
	})
}

// fuzzRun is one run of the fuzz target.
type fuzzRun struct {
	t       *testing.T
	g       *Gate
	next    int
	workers map[int]*worker
	canary  int

	mu      sync.Mutex
	allowed []map[int]bool // which generations may get new connections, after each change and during it
	ended   bool
	clients sync.WaitGroup
}

func newFuzzRun(t *testing.T, host string) *fuzzRun {
	r := &fuzzRun{t: t, g: newGate(t, Options{Address: freePort(t, host)}), workers: map[int]*worker{}}
	r.step(0, 0)
	r.step(2, 0)
	for _, target := range dialTargets(r.g.options.Address.tcp) {
		for range 2 {
			r.clients.Go(func() { r.client(target.String()) })
		}
	}
	return r
}

// generations returns the staged ones, oldest first.
func (r *fuzzRun) generations() []int { return slices.Sorted(maps.Keys(r.workers)) }

// allow records which generations may get connections from now on.
func (r *fuzzRun) allow(gens ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := map[int]bool{}
	for _, gen := range gens {
		if gen != 0 {
			set[gen] = true
		}
	}
	r.allowed = append(r.allowed, set)
}

func (r *fuzzRun) step(what byte, which int) {
	r.t.Helper()
	gens := r.generations()
	if what == 0 || len(gens) == 0 {
		if len(gens) < 6 {
			r.next++
			must(r.t, r.g.Stage(r.next))
			r.workers[r.next] = startWorker(r.t, r.g, r.next)
		}
		return
	}
	gen, live := gens[which%len(gens)], r.g.Live()
	switch what {
	case 1:
		wantProbe(r.t, r.g, gen)
	case 2:
		r.allow(live, r.canary, gen)
		must(r.t, r.g.Cutover(gen))
		if r.canary == gen {
			r.canary = 0
		}
		r.allow(gen, r.canary)
	case 3, 5:
		if gen == live {
			return
		}
		share := 3000
		if what == 5 {
			share = 0
		}
		r.allow(live, r.canary, gen)
		must(r.t, r.g.Canary(gen, share, nil))
		r.canary = gen
		if share == 0 {
			r.canary = 0
		}
		r.allow(live, r.canary)
	case 4:
		r.close(gen, live)
	case 6: // three probes at once, two of them of the same generation
		var probes sync.WaitGroup
		for _, to := range []int{gen, gens[0], gen} {
			probes.Go(func() {
				if got, err := answered(r.g.Dial(r.t.Context(), to)); err != nil || got != to {
					r.t.Errorf("a probe of generation %d reaches %d, %v", to, got, err)
				}
			})
		}
		probes.Wait()
	}
}

// close closes a generation as the supervisor does: without a canary, settled, and with its worker
// stopped.
func (r *fuzzRun) close(gen, live int) {
	r.t.Helper()
	if gen == live {
		return
	}
	if gen == r.canary {
		must(r.t, r.g.Canary(gen, 0, nil))
		r.canary = 0
		r.allow(live)
	}
	if s, err := r.g.Settle(soon(r.t), gen); err != nil || s.Left != 0 {
		r.t.Fatalf("settle: %+v, %v", s, err)
	}
	r.workers[gen].stop()
	delete(r.workers, gen)
	must(r.t, r.g.Close(gen))
}

func (r *fuzzRun) client(target string) {
	for {
		r.mu.Lock()
		first, last := len(r.allowed)-1, r.ended
		r.mu.Unlock()
		got, err := dialed(target)
		if err := r.judge(first, got, err); err != nil {
			r.t.Error(err)
			return
		}
		if last {
			return
		}
	}
}

func (r *fuzzRun) judge(first, got int, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("lost: %w", err)
	}
	for _, set := range r.allowed[first:] {
		if set[got] {
			return nil
		}
	}
	return fmt.Errorf("misrouted to generation %d, while %v were allowed", got, r.allowed[first:])
}

func (r *fuzzRun) end() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.clients.Wait()
	wantNoProbes(r.t, r.g)
}
