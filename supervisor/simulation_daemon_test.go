package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"superctl/supervisor/worker"
)

var errSimDead = errors.New("this daemon is dead")

// simDaemon is one daemon. When it dies its goroutines cannot be killed: but nothing that they do
// from then on has any effect, because every call of theirs that could be seen goes through edge.
type simDaemon struct {
	m       *sim
	n       int
	s       *Supervisor
	began   time.Time
	fds     map[int]any // *simSocket, *simProc or something else
	nextFD  int
	gates   []*simGate
	handles []*simHandle
	counts  map[string]uint64
	cancel  context.CancelFunc
	ended   chan struct{} // Run has returned
	err     error
	died    chan struct{}

	dead    bool
	leaving bool
	left    bool // it has ended by itself
	dieAt   int  // edges until it dies; 0 = not
	dieFrom int  // fault points until it dies; 0 = not
}

// edge is called before everything that a daemon does to the world. Each takes a moment that no
// other takes, so that no two things happen at the same instant, and it is the same moment in each
// run of the seed. It reports whether the daemon lives.
func (d *simDaemon) edge(label string) bool {
	if d.isDead() {
		return false
	}
	d.pass(label)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.dead {
		return false
	}
	d.m.events++
	d.m.tracef("[%d] %s", d.n, label)
	if d.dieAt > 0 {
		if d.dieAt--; d.dieAt == 0 {
			before := d.m.hash("before or after", uint64(d.m.events))%2 == 0
			if before {
				d.die(fmt.Sprintf("killed before %q", label))
				return false
			}
			time.AfterFunc(1, func() { d.m.locked(func() { d.die(fmt.Sprintf("killed after %q", label)) }) })
		}
	}
	return true
}

// pass takes the moment of something, and returns how often that has been. Of those that are due at
// the same instant each lets those before it in the alphabet go first.
func (d *simDaemon) pass(label string) uint64 {
	takes, nth := d.nextMoment(label)
	at := time.Now().Add(takes)
	d.m.locked(func() { d.m.due[at] = append(d.m.due[at], label) })
	time.Sleep(time.Until(at))
	var rank int
	d.m.locked(func() {
		slices.Sort(d.m.due[at])
		rank = slices.Index(d.m.due[at], label)
		if len(d.m.due[at]) == 1 {
			delete(d.m.due, at)
		}
	})
	time.Sleep(time.Duration(rank))
	return nth
}

// moment is how long something takes, by what it is and how often that has been.
func (d *simDaemon) moment(label string) time.Duration {
	takes, _ := d.nextMoment(label)
	return takes
}

// nextMoment is moment, and how often it has been.
func (d *simDaemon) nextMoment(label string) (takes time.Duration, nth uint64) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.counts[label]++
	nth = d.counts[label]
	return time.Duration(20 + d.m.hash(label, nth<<8|uint64(d.n))%300_000), nth
}

// enter is core.enter: the label is the place in the code. The owner may wake several goroutines at
// once that have come from the same place: which of them is which is known by when it came.
func (d *simDaemon) enter(who string) (woken func()) {
	label := "enter " + who + callers()
	nth := d.pass(label)
	d.m.locked(func() {
		if !d.dead {
			d.m.tracef("[%d] %s", d.n, label)
		}
	})
	return func() { d.pass(fmt.Sprintf("woken %s %d", label, nth)) }
}

// brokenFunction is what tools/mutants adds to the name of a function.
var brokenFunction = regexp.MustCompile(`__mutant[0-9]+`)

// callers names the functions that lead to the owner.
func callers() string {
	var pcs [8]uintptr
	n := runtime.Callers(5, pcs[:])
	frames := runtime.CallersFrames(pcs[:n])
	var names []string
	for {
		f, more := frames.Next()
		_, name, _ := strings.Cut(f.Function, "supervisor.")
		// of tools/mutants: a broken function is called by the one whose place it takes
		if short := brokenFunction.ReplaceAllString(name, ""); short == name || strings.Contains(short, ".func") {
			names = append(names, short)
		}
		if !more || len(names) == 4 {
			return strings.Join(names, " ")
		}
	}
}

func (d *simDaemon) isDead() bool {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.dead
}

// open is keep for a goroutine that has not the lock.
func (d *simDaemon) open(what any) (fd int) {
	d.m.locked(func() { fd = d.keep(what) })
	return fd
}

// keep gives the daemon a descriptor.
func (d *simDaemon) keep(what any) int {
	d.nextFD++
	d.fds[d.nextFD] = what
	return d.nextFD
}

func (d *simDaemon) drop(fd int) {
	if s, ok := d.fds[fd].(*simSocket); ok {
		d.m.unref(s)
	}
	delete(d.fds, fd)
}

// die ends the daemon as SIGKILL does. What it has open is closed.
func (d *simDaemon) die(why string) {
	if d.dead {
		return
	}
	d.dead = true
	d.m.logf("daemon %d dies: %s", d.n, why)
	d.m.commands.diedAt = time.Now()
	d.m.forgetUnwrittenReverts()
	close(d.died)
	for _, fd := range slices.Sorted(maps.Keys(d.fds)) {
		d.drop(fd)
	}
	go d.reap()
}

// reap ends the goroutines of a dead daemon: what it owned is nobody's now, so that all they wait
// for can be ended.
func (d *simDaemon) reap() {
	select {
	case d.s.inbox <- func() { runtime.Goexit() }:
	case <-d.s.done:
	}
	<-d.ended
	d.cancel()
	for _, p := range d.s.liveness.pulses {
		p.cancel()
	}
	if c := d.s.change; c != nil {
		c.kill(errSimDead)
	}
	d.endRuns()
	for _, g := range d.s.generations {
		select {
		case <-g.done:
		default:
			close(g.done)
		}
		for _, p := range g.proofs {
			p.end()
		}
		for _, in := range g.instances {
			in.endLook()
			in.disarm()
			if in.mute != nil {
				in.mute(nil)
			}
			if in.lingers != nil {
				in.lingers.end()
			}
		}
	}
	d.m.locked(func() {
		for _, h := range d.handles {
			h.close()
		}
	})
}

// daemon makes one, with what an earlier one has handed over.
func (m *sim) daemon(handed map[string]any) *simDaemon {
	d := &simDaemon{
		m: m, n: len(m.daemons) + 1, began: time.Now(), fds: make(map[int]any), nextFD: 10, counts: make(map[string]uint64),
		ended: make(chan struct{}), died: make(chan struct{}),
	}
	inherited := make(map[string]int)
	var gates []Gate
	m.locked(func() {
		m.daemons = append(m.daemons, d)
		for name, what := range ordered(handed) {
			if s, ok := what.(*simSocket); ok {
				if s.closed {
					continue
				}
				s.refs++
			}
			inherited[name] = d.keep(what)
		}
		for _, a := range m.public() {
			g := newSimGate(d, a)
			d.gates = append(d.gates, g)
			gates = append(gates, g)
		}
		m.disk.mount()
	})
	opt := Options{
		App: "shop", Version: "1", State: m.dir, Gates: gates, Resolve: d.resolve,
		Handed:    slices.Sorted(maps.Keys(inherited)),
		Inherited: func(name string) (int, bool) { fd, ok := inherited[name]; return fd, ok },
		Page:      simPage,
		Point:     d.point, Record: d.record, Tell: d.tell, Fault: d.fault, Log: m.logger(d),
		Renew: Renew{Check: d.check, HandOver: d.handOver},
	}
	if m.sc.Site.Store {
		opt.Store, opt.Stored = simStore{d}, slices.Sorted(maps.Keys(m.stored))
	}
	if m.sc.Site.Look {
		opt.Look = func(context.Context, Look) error { d.edge("look"); return nil }
	}
	if m.sc.Site.Rate != "" {
		opt.Hook = filepath.Join(m.dir, "hook")
	}
	if m.sc.Site.Assets {
		opt.Publish, opt.Refresh = d.publish, d.refresh
	}
	d.s = New(opt)
	d.s.counts.source = d.requestCounts
	d.s.os = system{
		start: d.startWorker, output: d.openOutput, run: d.runHook, adopt: d.adoptWorker, inode: d.inode,
		end: d.endWorker, sweep: d.sweepWorkers,
		find:    d.findWorkers,
		strays:  func([]worker.Running) error { return nil },
		measure: func(list []process) []worker.Usage { return make([]worker.Usage, len(list)) },
		memory:  d.memory,
		alarm:   d.alarm,
		close:   func(fd int) { m.locked(func() { d.drop(fd) }) },
		write:   d.writeState, sync: d.syncState, held: d.hasHook, enter: d.enter,
		chance: func() float64 { return float64(d.moment("chance")) / 300_020 },
	}
	return d
}

// run starts it.
func (d *simDaemon) run() {
	if d.m.sc.Site.Ready {
		d.s.mailbox.socket = simNotify{d}
		d.s.mailbox.read()
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	look := func() (bool, error) { d.m.checkTurn(d); return false, nil }
	// the owner calls it in each of its turns
	d.s.waiters = append(d.s.waiters, &waiter{cond: look, hit: make(chan error, 1)})
	go func() {
		defer close(d.ended)
		defer func() {
			if r := recover(); r != nil {
				d.m.locked(func() {
					d.m.violate("the owner panics: %v", r)
					d.die("it panics")
				})
			}
		}()
		d.err = d.s.Run(ctx)
		// What the owner set free in its last turn still finds a daemon that lives, in each run.
		d.pass("end")
		d.m.locked(func() {
			if d.dead {
				return
			}
			if d.err != nil && d.m.disk.fails == nil {
				d.m.violate("Run: %v", d.err)
			}
			d.dead, d.left = true, true
			close(d.died)
			d.m.logf("daemon %d ends", d.n)
			d.m.commands.diedAt = time.Now()
			d.m.forgetUnwrittenReverts()
			d.checkLeft("has ended")
			for _, fd := range slices.Sorted(maps.Keys(d.fds)) {
				d.drop(fd)
			}
			go d.reap()
		})
	}()
}

func (d *simDaemon) inode(fd int) (uint64, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if s, ok := d.fds[fd].(*simSocket); ok {
		return s.inode, nil
	}
	return 0, syscall.EBADF
}

func (d *simDaemon) openOutput(path string, _ *worker.Credential) (output, error) {
	place := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)) // what comes after it is random
	if !d.edge("output " + place) {
		return nil, errSimDead
	}
	return &simOutput{d: d}, nil
}

func (d *simDaemon) fault(point string) {
	d.edge("fault " + point)
	d.m.locked(func() {
		d.m.points[point]++
		if d.dieFrom > 0 && !d.dead {
			if d.dieFrom--; d.dieFrom == 0 {
				d.die(fmt.Sprintf("killed at %q", point))
			}
		}
	})
}
