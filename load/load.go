// Package load is an HTTP load client that records the outcome of every request.
//
// It backs the claim "no request was lost", so it hides nothing: it opens its own plain
// connections, retries nothing, and records every request that it began exactly once, with its
// timestamps, the worker that answered, and the class of its failure. A request fails if it is
// refused, reset, cut short, timed out, answered with 5xx or answered wrongly. The number of
// requests, the time and the memory are bounded, and the client connects only to the one configured
// address.
//
// It does not start servers. It reports latencies but does not judge them.
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

// Config describes the requests, their target and their rate.
type Config struct {
	Network string // "tcp" or "unix"
	Address string // host:port or path
	Host    string // Host header; "" = localhost

	Shapes       []Shape // sent in turn, in proportion to their weights
	Clients      int     // maximum number of concurrent requests; default 4
	Rate         float64 // requests per second of all clients together; 0 = each client sends without a pause
	KeepAlive    bool    // each client keeps its connection while the server allows it; else a new one per request
	FreshClients int     // how many of the clients open a new connection per request in spite of KeepAlive

	Timeout     time.Duration // per request, from dial to the last byte of the answer; default 10 s
	MaxRequests int           // default 500,000
	MaxDuration time.Duration // default 10 min
	Seed        uint64        // for the random bodies
}

// Run is a load in progress.
type Run struct {
	cfg   Config
	order []int // indexes into cfg.Shapes
	began time.Time

	stop    context.CancelFunc
	stopped context.Context //nolint:containedctx // its lifetime is the run's
	clients sync.WaitGroup
	done    chan struct{} // closed when the last client has returned

	mu           sync.Mutex
	next         int           // guarded by mu: number of the next request
	records      []Record      // guarded by mu
	failed       int           // guarded by mu
	changed      chan struct{} // guarded by mu: closed and replaced with each record
	limitReached bool          // guarded by mu: MaxRequests or MaxDuration was reached
}

// Start starts sending. The load goes on until Stop, or until it reaches one of its limits.
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
		return nil, errors.New("load: Address and at least one Shape are required")
	}

	r := &Run{cfg: cfg, began: time.Now(), done: make(chan struct{}), changed: make(chan struct{})}
	r.order = sendingOrder(cfg.Shapes)
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

// sendingOrder returns the order in which shapes are sent: indexes into shapes, each as often as
// the shape's weight, spread evenly.
func sendingOrder(shapes []Shape) []int {
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

// Stop waits for the requests in progress, which takes no longer than their timeout, and returns
// the result.
func (r *Run) Stop() *Result {
	r.mu.Lock()
	if errors.Is(context.Cause(r.stopped), context.DeadlineExceeded) {
		r.limitReached = true
	}
	r.mu.Unlock()
	r.stop()
	<-r.done

	r.mu.Lock()
	defer r.mu.Unlock()
	res := &Result{
		Shapes: r.cfg.Shapes, Records: slices.Clone(r.records),
		Began: r.began, Ended: time.Now(), LimitReached: r.limitReached,
	}
	slices.SortStableFunc(res.Records, func(a, b Record) int { return a.Due.Compare(b.Due) })
	return res
}

// Wait waits until ok returns true for the records so far. It calls ok after every request, and
// fails when ctx or the load ends. ok may read the records only during the call.
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

// WaitMore waits until n further requests have ended, successfully or not.
func (r *Run) WaitMore(ctx context.Context, n int) error {
	r.mu.Lock()
	until := len(r.records) + n
	r.mu.Unlock()
	return r.Wait(ctx, func(records []Record) bool { return len(records) >= until })
}

// Counts returns how many requests have ended so far, and how many of them failed.
func (r *Run) Counts() (sent, failed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records), r.failed
}

// client sends one request after another until the run ends. It always completes a request it has
// begun.
func (r *Run) client(id int) {
	c := connection{
		cfg: &r.cfg, keep: r.cfg.KeepAlive && id >= r.cfg.FreshClients,
		rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(id))), // bodies, not secrets
	}
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
		shape := r.order[n%len(r.order)]
		rec := c.exchange(&r.cfg.Shapes[shape])
		rec.Shape, rec.Client, rec.Due = shape, id, due
		r.record(rec)
	}
}

// take returns the number of the next request, and false once MaxRequests is reached.
func (r *Run) take() (n int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next >= r.cfg.MaxRequests {
		r.limitReached = true
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

// pause waits for d and reports whether the run is still in progress.
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
