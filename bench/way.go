package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"superctl/load"
)

// way is a path from clients to the site with its load: clients with a new connection for each
// request, clients with kept-alive connections, and now and then a slow view and a large download.
type way struct {
	place
	runs []*load.Run
}

// place is a way's name, the heading of its table, and the file of its plot.
type place struct {
	name, title, file string
	rate              float64 // requests a second, by each of the first two kinds of clients
}

func ways() []place {
	return []place{
		{"direct", "Direct", "comparison-direct.svg", 50},
		{"nginx", "Behind nginx, a new connection to the server for each request", "comparison-nginx.svg", 25},
		{"nginx, kept", "Behind nginx that keeps connections to the server", "comparison-nginx-kept.svg", 25},
	}
}

// The kinds of clients of a way, in the order of its runs.
var kinds = [...]string{"new connections", "kept connections", "slow and large"} //nolint:gochecknoglobals // constant

// seldom is the rate of slow and large requests on each way, in requests a second.
const seldom = 1.0

const slowView = "/slow?s=1"

// begin starts the load of a way.
func (s *scene) begin(p place, address string) *way {
	w := &way{place: p}
	quick := []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)}
	for i, cfg := range []load.Config{
		{Shapes: quick, Rate: p.rate, Clients: 24},
		{Shapes: quick, Rate: p.rate, Clients: 12, KeepAlive: true},
		{Shapes: []load.Shape{load.Get(slowView), load.Stream("/stream", 2<<20)}, Rate: seldom, Clients: 8},
	} {
		cfg.Network, cfg.Address, cfg.Timeout, cfg.Seed = "tcp", address, 20*time.Second, uint64(i)
		r, err := load.Start(cfg)
		s.must(err)
		w.runs = append(w.runs, r)
	}
	s.Cleanup(func() { w.stop() })
	return w
}

// stopped stops all loads together and returns their results.
func stopped(ways []*way) []*load.Result {
	list := make([]*load.Result, len(ways))
	var all sync.WaitGroup
	for i, w := range ways {
		all.Go(func() { list[i] = w.stop() })
	}
	all.Wait()
	return list
}

// stop stops the load and returns one result for all its clients. The number of a client gives its
// kind: kinds[Client/100].
func (w *way) stop() *load.Result {
	var results [len(kinds)]*load.Result
	var runs sync.WaitGroup
	for i, r := range w.runs {
		runs.Go(func() { results[i] = r.Stop() })
	}
	runs.Wait()
	all := &load.Result{}
	for i, res := range results {
		if i == 0 {
			all.Began = res.Began
		}
		for _, rec := range res.Records {
			rec.Shape += len(all.Shapes)
			rec.Client += 100 * i
			all.Records = append(all.Records, rec)
		}
		all.Shapes, all.Ended = append(all.Shapes, res.Shapes...), res.Ended
	}
	slices.SortStableFunc(all.Records, func(a, b load.Record) int { return a.Due.Compare(b.Due) })
	return all
}

// settled waits until, for a while, only that release has answered each frequent kind of client. It
// reports whether that happened within the limit.
func (w *way) settled(release string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	for _, r := range w.runs[:2] {
		err := r.Wait(ctx, func(records []load.Record) bool {
			since := 0
			for i := len(records) - 1; i >= 0 && records[i].Failure == load.None && records[i].Release == release; i-- {
				since++
			}
			return since >= 12
		})
		if err != nil {
			return false
		}
	}
	return true
}

// quick returns the part of a result whose latency depends only on the server.
func quick(r *load.Result) *load.Result {
	p := *r
	p.Records = nil
	for i := range r.Records {
		if kindOf(&r.Records[i]) < 2 {
			p.Records = append(p.Records, r.Records[i])
		}
	}
	return &p
}

func kindOf(r *load.Record) int { return r.Client / 100 }
