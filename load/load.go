// Package load is a client that sends HTTP requests and counts what becomes of each.
//
// It owns the claim "no request was lost", so it hides nothing: it speaks over plain connections that it opens itself,
// retries nothing, and records every request that it began once, with its moments, who answered it, and the class of its
// failure if it failed. A request that was refused, reset, cut short, timed out, answered with 5xx or answered wrongly has
// failed. It is bounded in requests, time and memory, and sends nothing to anywhere but the one address that it was given.
//
// It does not start servers, and it does not judge latencies: it only reports them.
package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Config says what to send, where to, and how much of it.
type Config struct {
	Network string // "tcp" or "unix"
	Address string // host:port or path
	Host    string // Host header; "" = localhost

	Shapes    []Shape // taken in turn, each as often as its weight
	Clients   int     // how many requests are under way at once, at most; default 4
	Rate      float64 // requests a second of all clients together; 0 = each client sends its next one at once
	KeepAlive bool    // a client keeps its connection while the server lets it; else each request has a new one
	Fresh     int     // so many of the clients have a new one for each request, whatever KeepAlive says

	Timeout     time.Duration // of a request, from dial to the answer's last byte; default 10 s
	MaxRequests int           // default 500,000
	MaxDuration time.Duration // default 10 min
	Seed        uint64        // of the bodies
}

// Run is a load that is being sent.
type Run struct {
	cfg   Config
	turn  []int // indexes into cfg.Shapes
	began time.Time

	stop    context.CancelFunc
	stopped context.Context //nolint:containedctx // its lifetime is the run's
	clients sync.WaitGroup
	done    chan struct{} // closed when the last client has ended

	mu      sync.Mutex
	next    int           // guarded by mu: number of the next request
	records []Record      // guarded by mu
	failed  int           // guarded by mu
	changed chan struct{} // guarded by mu: closed and replaced at each record
	limit   bool          // guarded by mu: it ended by itself, at MaxRequests or MaxDuration
}

// Start begins to send. The load goes on until Stop, or until one of its limits is reached.
func Start(cfg Config) (*Run, error) {
	cfg.Clients = orDefault(cfg.Clients, 4)
	cfg.Timeout = orDefault(cfg.Timeout, 10*time.Second)
	cfg.MaxRequests = orDefault(cfg.MaxRequests, 500_000)
	cfg.MaxDuration = orDefault(cfg.MaxDuration, 10*time.Minute)
	cfg.Host = orDefault(cfg.Host, "localhost")
	if cfg.Network != "tcp" && cfg.Network != "unix" {
		return nil, fmt.Errorf("load: network %q: must be tcp or unix", cfg.Network)
	}
	if cfg.Address == "" || len(cfg.Shapes) == 0 {
		return nil, errors.New("load: an address and at least one shape of request are needed")
	}

	r := &Run{cfg: cfg, began: time.Now(), done: make(chan struct{}), changed: make(chan struct{})}
	r.turn = turns(cfg.Shapes)
	r.stopped, r.stop = context.WithTimeout(context.Background(), cfg.MaxDuration)
	for i := range cfg.Clients {
		r.clients.Go(func() { r.client(i) })
	}
	go func() {
		r.clients.Wait()
		r.stop()
		close(r.done)
	}()
	return r, nil
}

// turns are indexes into shapes, each as often as the shape's weight and spread over the whole.
func turns(shapes []Shape) []int {
	type turn struct {
		shape int
		at    float64
	}
	var all []turn
	for i, s := range shapes {
		weight := orDefault(s.Weight, 1)
		for k := range weight {
			all = append(all, turn{i, (float64(k) + 0.5) / float64(weight)})
		}
	}
	slices.SortStableFunc(all, func(a, b turn) int { return cmp.Compare(a.at, b.at) })
	indexes := make([]int, 0, len(all))
	for _, t := range all {
		indexes = append(indexes, t.shape)
	}
	return indexes
}

// Stop lets the requests that are under way end, which takes no longer than their time limit, and returns what was
// recorded.
func (r *Run) Stop() *Result {
	r.mu.Lock()
	if errors.Is(context.Cause(r.stopped), context.DeadlineExceeded) {
		r.limit = true
	}
	r.mu.Unlock()
	r.stop()
	<-r.done

	r.mu.Lock()
	defer r.mu.Unlock()
	res := &Result{Shapes: r.cfg.Shapes, Records: slices.Clone(r.records), Began: r.began, Ended: time.Now(), Exhausted: r.limit}
	slices.SortStableFunc(res.Records, func(a, b Record) int { return a.Due.Compare(b.Due) })
	return res
}

// Wait returns nil as soon as ok holds for what was recorded until then. It looks again after every request, and gives up
// when ctx or the load ends. The records are only for reading, and only during the call.
func (r *Run) Wait(ctx context.Context, ok func(records []Record) bool) error {
	for {
		r.mu.Lock()
		met, changed := ok(r.records), r.changed
		r.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the load: %w", context.Cause(ctx))
		case <-r.done:
			return errors.New("wait for the load: it has ended")
		}
	}
}

// More waits until n further requests have ended, well or badly.
func (r *Run) More(ctx context.Context, n int) error {
	r.mu.Lock()
	until := len(r.records) + n
	r.mu.Unlock()
	return r.Wait(ctx, func(records []Record) bool { return len(records) >= until })
}

// Counts is how many requests have ended until now, and how many of them have failed.
func (r *Run) Counts() (sent, failed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records), r.failed
}

// client sends one request after another until the run ends. A request that it has begun it also ends.
func (r *Run) client(id int) {
	c := connection{cfg: &r.cfg, keep: r.cfg.KeepAlive && id >= r.cfg.Fresh, rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(id)))} //nolint:gosec // bodies, not secrets
	defer c.close()
	for {
		n, ok := r.take()
		if !ok {
			return
		}
		due := time.Now()
		if r.cfg.Rate > 0 {
			due = r.began.Add(time.Duration(float64(n) / r.cfg.Rate * float64(time.Second)))
			if !r.pause(time.Until(due)) {
				return
			}
		} else if r.stopped.Err() != nil {
			return
		}
		shape := r.turn[n%len(r.turn)]
		rec := c.exchange(&r.cfg.Shapes[shape])
		rec.Shape, rec.Client, rec.Due = shape, id, due
		r.record(rec)
	}
}

// take gives out the number of the next request, unless there were enough.
func (r *Run) take() (n int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next >= r.cfg.MaxRequests {
		r.limit = true
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

// pause waits, and says whether the run is still on.
func (r *Run) pause(d time.Duration) bool {
	if d <= 0 {
		return r.stopped.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.stopped.Done():
		return false
	}
}

func (r *Run) record(rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, rec)
	if rec.Failure != None {
		r.failed++
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
