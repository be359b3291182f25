package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// visits are how many requests a second there are meanwhile.
const visits = 40

// watched is how long the site is watched after something bad was done to it, at least.
const watched = 9 * time.Second

// deployed is what a release costs that does not work.
type deployed struct {
	name string
	errs [2]outcome // by the faults
	err  error
}

// The faults, in the order of deployed.errs.
var faults = [...]apps.Fault{apps.ImportError, apps.Error500} //nolint:gochecknoglobals // constant

// outcome is what became of the site.
type outcome struct {
	said   error // by the command
	failed []load.Record
	after  string // what the site was at the end
	back   string // what brought it back
}

// breaks deploys broken releases. Nothing is timed here, and most of it is waiting, so several
// peers are at work at once.
func (c *comparison) breaks(run *harness.Run) {
	c.broken = besides(c.chosenOnce(), func(p peer) (d deployed) {
		d.name = p.name()
		for i, f := range faults {
			s := &scene{run: run}
			p := c.fresh(p.name())
			d.errs[i], d.err = s.deploy(p, f)
			s.end()
			if d.err != nil {
				return d
			}
			fmt.Printf(
				"broken (%s): %-32s %d failed, %s, %s\n", f, d.name, len(d.errs[i].failed), d.errs[i].after,
				d.errs[i].back,
			)
		}
		return d
	})
}

// chosenOnce are the peers that were asked for, superctl with one server.
func (c *comparison) chosenOnce() []peer {
	return slices.DeleteFunc(c.chosen(), func(p peer) bool {
		s, ok := p.(*superctl)
		return ok && s.with != "gunicorn"
	})
}

// fresh is a peer that nothing has happened to.
func (c *comparison) fresh(name string) peer {
	all := c.o.peers()
	return all[slices.IndexFunc(all, func(p peer) bool { return p.name() == name })]
}

// besides does something with each peer, several at a time, and keeps their order.
func besides[T any](peers []peer, do func(peer) T) []T {
	list := make([]T, len(peers))
	next := make(chan int)
	var hands sync.WaitGroup
	for range 4 {
		hands.Go(func() {
			for i := range next {
				list[i] = do(peers[i])
			}
		})
	}
	for i := range peers {
		next <- i
	}
	close(next)
	hands.Wait()
	return list
}

// visit is a light load, each request over a new connection. It has so many clients that all may
// hang and each request is still sent when it is due.
func (s *scene) visit(address string) *load.Run {
	r, err := load.Start(load.Config{
		Network: "tcp", Address: address, Rate: visits, Clients: 6 * visits, Timeout: 5 * time.Second,
		Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)},
	})
	s.must(err)
	s.Cleanup(func() { r.Stop() })
	return r
}

// deploy brings a broken release in and then, as whoever is on call would, the old one back by the
// same command.
func (s *scene) deploy(p peer, fault apps.Fault) (out outcome, err error) {
	defer s.recovered(&err)
	be := behaviour()
	be.Fault = fault
	address := p.start(s, be)
	s.answering(address)
	r := s.visit(address)
	<-time.After(time.Second)
	asked := time.Now()
	out.said = p.turn(names[1])
	<-time.After(max(time.Until(asked.Add(watched)), 2*time.Second))
	out.after = state(r, names[0])
	tried := time.Now()
	_ = p.turn(names[0]) // what comes of it tells
	well := within(10*time.Second, func() bool { return state(r, names[0]) == up })
	switch {
	case out.after == up:
		out.back = "nothing to do"
	case well:
		out.back = fmt.Sprintf("the same with the old release: %.0f s", time.Since(tried).Seconds())
	default:
		out.back = "must be started again"
	}
	res := r.Stop()
	out.failed = failedBetween(res, asked, asked.Add(watched))
	return out, nil
}

// failedBetween are those of the requests that were due between two moments which have failed,
// whenever that was.
func failedBetween(r *load.Result, from, to time.Time) []load.Record {
	return slices.DeleteFunc(r.Failed(), func(rec load.Record) bool {
		return rec.Due.Before(from) || !rec.Due.Before(to)
	})
}

// What a site can be.
const (
	up   = "up, old release"
	down = "**down**"
)

// state is what the site was in the last second.
func state(r *load.Run, good string) (what string) {
	_ = r.Wait(expired(), func(records []load.Record) bool {
		well, bad := 0, 0
		since := time.Now().Add(-time.Second)
		for i := len(records) - 1; i >= 0 && records[i].Ended.After(since); i-- {
			if records[i].Failure == load.None && records[i].Release == good {
				well++
			} else {
				bad++
			}
		}
		switch {
		case well == 0:
			what = down
		case bad == 0:
			what = up
		default:
			what = fmt.Sprintf("%.0f %% fail", 100*float64(bad)/float64(well+bad))
		}
		return true
	})
	return what
}

// bereft is what becomes of a site whose workers are killed while the next release, which is
// broken, lies on disk.
type bereft struct {
	name  string
	first outcome // one worker was killed
	rest  outcome // then all others that had served
	err   error
}

func (c *comparison) bereaves(run *harness.Run) {
	c.worker = besides(c.chosenOnce(), func(p peer) (b bereft) {
		s := &scene{run: run}
		defer s.end()
		b.name = p.name()
		b.first, b.rest, b.err = s.bereave(c.fresh(p.name()))
		fmt.Printf(
			"worker killed: %-32s %d failed, %s; then all: %d failed, %s %v\n", b.name, len(b.first.failed),
			b.first.after, len(b.rest.failed), b.rest.after, orNothing(b.err),
		)
		return b
	})
}

// bereave kills workers.
func (s *scene) bereave(p peer) (first, rest outcome, err error) {
	defer s.recovered(&err)
	be := behaviour()
	be.Fault = apps.ImportError
	address := p.start(s, be)
	s.answering(address)
	r := s.visit(address)
	<-time.After(time.Second)
	p.lie(names[1])
	var moments []time.Time
	kill := func(victims []int) (after string) {
		moments = append(moments, time.Now())
		for _, pid := range victims {
			_ = s.signal(pid, syscall.SIGKILL) // it may have ended meanwhile
		}
		<-time.After(watched)
		return state(r, names[0])
	}
	workers := serving(r)
	if len(workers) == 0 {
		s.Fatalf("nobody says who it is")
	}
	first.after = kill(workers[:1])
	rest.after = kill(serving(r)) // one that was slow to start may have come
	moments = append(moments, time.Now())
	res := r.Stop()
	first.failed, rest.failed = failedBetween(res, moments[0], moments[1]), failedBetween(res, moments[1], moments[2])
	return first, rest, nil
}

// serving are the processes that have answered.
func serving(r *load.Run) (pids []int) {
	_ = r.Wait(expired(), func(records []load.Record) bool {
		for i := range records {
			if pid := records[i].PID; pid != 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
		return true
	})
	return pids
}

// expired is for looking at a load without waiting.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func orNothing(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
