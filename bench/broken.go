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

// visitRate is the rate of the load in requests a second.
const visitRate = 40

// watched is how long the site is watched at least after a broken deploy or a kill.
const watched = 9 * time.Second

// deployed is the cost of deploying broken releases with one peer.
type deployed struct {
	name string
	errs [2]outcome // one for each of faults
	err  error
}

// The faults, in the order of deployed.errs.
var faults = [...]apps.Fault{apps.ImportError, apps.Error500} //nolint:gochecknoglobals // constant

// outcome is what happened to the site.
type outcome struct {
	said   error // of the deploy command
	failed []load.Record
	after  string // state of the site at the end
	back   string // what repaired the site
}

// breaks deploys broken releases with each peer. It times nothing and mostly waits, so several
// peers run in parallel.
func (c *comparison) breaks(run *harness.Run) {
	c.broken = inParallel(c.chosenOnce(), func(p peer) (d deployed) {
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

// chosenOnce returns the requested peers, with superctl only once.
func (c *comparison) chosenOnce() []peer {
	return slices.DeleteFunc(c.chosen(), func(p peer) bool {
		s, ok := p.(*superctl)
		return ok && s.with != "gunicorn"
	})
}

// fresh returns a new peer of that name.
func (c *comparison) fresh(name string) peer {
	all := c.o.peers()
	return all[slices.IndexFunc(all, func(p peer) bool { return p.name() == name })]
}

// inParallel calls do for each peer, several at a time, and returns the results in the order of
// peers.
func inParallel[T any](peers []peer, do func(peer) T) []T {
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

// startVisits starts a light load with a new connection for each request. It has so many clients
// that requests are sent when they are due even if all earlier ones hang.
func (s *scene) startVisits(address string) *load.Run {
	r, err := load.Start(load.Config{
		Network: "tcp", Address: address, Rate: visitRate, Clients: 6 * visitRate, Timeout: 5 * time.Second,
		Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)},
	})
	s.must(err)
	s.Cleanup(func() { r.Stop() })
	return r
}

// deploy deploys a broken release and then, like an operator on call, the old one with the same
// command.
func (s *scene) deploy(p peer, fault apps.Fault) (out outcome, err error) {
	defer s.recovered(&err)
	be := behaviour()
	be.Fault = fault
	address := p.start(s, be)
	s.answering(address)
	r := s.startVisits(address)
	<-time.After(time.Second)
	asked := time.Now()
	out.said = p.turn(names[1])
	<-time.After(max(time.Until(asked.Add(watched)), 2*time.Second))
	out.after = state(r, names[0])
	tried := time.Now()
	_ = p.turn(names[0]) // the state of the site shows whether it worked
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

// failedBetween returns the failed requests that were due between two moments.
func failedBetween(r *load.Result, from, to time.Time) []load.Record {
	return slices.DeleteFunc(r.Failed(), func(rec load.Record) bool {
		return rec.Due.Before(from) || !rec.Due.Before(to)
	})
}

// The states of a site.
const (
	up   = "up, old release"
	down = "**down**"
)

// state returns the state of the site in the last second.
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

// workerKill is what happens to a site whose workers are killed after a broken release was put on
// disk.
type workerKill struct {
	name  string
	first outcome // after one worker was killed
	rest  outcome // after all the others were killed
	err   error
}

func (c *comparison) workerKills(run *harness.Run) {
	c.worker = inParallel(c.chosenOnce(), func(p peer) (b workerKill) {
		s := &scene{run: run}
		defer s.end()
		b.name = p.name()
		b.first, b.rest, b.err = s.killWorkers(c.fresh(p.name()))
		fmt.Printf(
			"worker killed: %-32s %d failed, %s; then all: %d failed, %s %v\n", b.name, len(b.first.failed),
			b.first.after, len(b.rest.failed), b.rest.after, errorText(b.err),
		)
		return b
	})
}

// killWorkers puts a broken release on disk and kills the workers.
func (s *scene) killWorkers(p peer) (first, rest outcome, err error) {
	defer s.recovered(&err)
	be := behaviour()
	be.Fault = apps.ImportError
	address := p.start(s, be)
	s.answering(address)
	r := s.startVisits(address)
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
		s.Fatalf("no answer names its process")
	}
	first.after = kill(workers[:1])
	rest.after = kill(serving(r)) // a worker may have started in the meantime
	moments = append(moments, time.Now())
	res := r.Stop()
	first.failed, rest.failed = failedBetween(res, moments[0], moments[1]), failedBetween(res, moments[1], moments[2])
	return first, rest, nil
}

// serving returns the pids of the processes that answered.
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

// expired returns a context for reading the records of a load without waiting.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
