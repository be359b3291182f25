package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"superctl/supervisor/worker"
)

// simProc is a worker as the machine has it: it outlives the daemon that started it.
type simProc struct {
	m        *sim
	pid      int
	born     time.Time
	started  uint64
	spec     worker.Spec
	sockets  []*simSocket
	how      simRelease
	exit     worker.Exit
	ended    bool // the main process has
	left     bool // children of it run on
	up       bool // it accepts, once it has booted
	wedged   bool
	leaks    bool // it uses more memory than it may
	asked    int
	healthy  int // good answers to probes in a row
	proved   bool
	provedAt time.Time
	told     time.Time // the stop signal; zero = none
	signals  int       // stop signals by the daemon that runs now
	conns    []*simConn
	handles  []*simHandle
	heardBy  *simDaemon // that has read its READY=1
	heardAt  time.Time
}

func (p *simProc) String() string {
	return fmt.Sprintf(
		"%s.%d g%d %s (pid %d)", p.spec.Process, p.spec.Instance, p.spec.Generation, p.spec.Release, p.pid,
	)
}

func (p *simProc) tag() string   { return fmt.Sprintf("tag-%d-%d", p.pid, p.started) }
func (p *simProc) accepts() bool { return p.up && !p.ended && !p.wedged && p.told.IsZero() }

// plan names the plan that it runs.
func (p *simProc) plan() string { return p.spec.Release + " of " + p.spec.Command[1] }

func (p *simProc) open() (n int) {
	p.conns = slices.DeleteFunc(p.conns, func(c *simConn) bool { return !c.until.After(time.Now()) })
	return len(p.conns)
}

// spawn makes a process.
func (m *sim) spawn(spec worker.Spec, sockets []*simSocket) *simProc {
	m.pids++
	m.spawned++
	p := &simProc{
		m: m, pid: m.pids, started: uint64(m.spawned), born: time.Now(), spec: spec, sockets: sockets,
		how: m.release(spec.Release),
	}
	for _, s := range sockets {
		s.refs++
		s.holders = append(s.holders, p)
	}
	m.procs = append(m.procs, p)
	m.logf("start %s", p)
	m.checkStart(p)
	m.checkPublished(p)
	time.AfterFunc(time.Duration(p.how.Boot+5)*time.Millisecond, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		p.up = true
		if len(sockets) > 0 {
			p.counts()
		}
		m.sayReady(p)
		for _, s := range p.sockets {
			m.accept(s)
		}
	})
	life := time.Duration(0)
	switch shows := m.shows(&spec); {
	case len(sockets) == 0 && p.how.Worker == "dies":
		life = 400 * time.Millisecond
	case shows && p.how.Start == "dies":
		life = 150 * time.Millisecond
	case shows && p.how.Start == "dies late":
		life = 4 * time.Second
	}
	if life > 0 {
		time.AfterFunc(life+time.Duration(p.pid), func() {
			m.locked(func() { p.die(worker.Exit{Known: true, Code: 3}, "it failed") })
		})
	}
	return p
}

// die ends the main process, and with it its connections.
func (p *simProc) die(exit worker.Exit, why string) {
	if p.ended {
		return
	}
	p.ended, p.exit = true, exit
	p.desert()
	p.m.logf("end %s: %s", p, why)
	for _, s := range p.sockets {
		// what is queued at a worker that dies is lost with it
		s.hung = s.hung || s.number>>laneBits > 0 && (why == "crash" || why == "it failed")
	}
	for _, c := range p.conns {
		if c.until.After(time.Now()) {
			p.m.cut(c, p, why)
		}
	}
	p.conns = nil
	p.left = p.how.Leaves && exit.Signal != 0 || p.how.Leaves && why == "crash"
	if !p.left {
		p.release()
	}
	for _, h := range p.handles {
		h.close()
	}
}

// desert notes that it accepts no more.
func (p *simProc) desert() {
	for _, s := range p.sockets {
		s.deserted = time.Now()
	}
}

// release gives up its sockets.
func (p *simProc) release() {
	for _, s := range p.sockets {
		s.holders = slices.DeleteFunc(s.holders, func(o *simProc) bool { return o == p })
		p.m.unref(s)
	}
	p.sockets = nil
	p.m.procs = slices.DeleteFunc(p.m.procs, func(o *simProc) bool { return o == p })
}

// kill ends all of it.
func (p *simProc) kill(why string) {
	p.die(worker.Exit{Known: true, Signal: syscall.SIGKILL}, why)
	if p.left {
		p.left = false
		p.release()
	}
}

// stop is the stop signal: it accepts no more, and ends when its connections have.
func (p *simProc) stop() {
	if !p.told.IsZero() || p.ended {
		return
	}
	p.told = time.Now()
	p.desert()
	wait := 3 * time.Millisecond
	for _, c := range p.conns {
		wait = max(wait, time.Until(c.until)+time.Millisecond)
	}
	switch p.how.Stop {
	case "never":
		return
	case "slow":
		wait += 1500 * time.Millisecond
	}
	if p.wedged {
		return
	}
	time.AfterFunc(wait+time.Duration(p.pid), func() {
		p.m.locked(func() { p.die(worker.Exit{Known: true}, "stopped") })
	})
}

// memory is how much memory each worker uses.
func (d *simDaemon) memory(list []process) []uint64 {
	bytes := make([]uint64, len(list))
	if !d.edge("memory") {
		return bytes
	}
	d.m.locked(func() {
		for i, w := range list {
			bytes[i] = 100 << 20
			if w.(*simHandle).p.leaks { //nolint:forcetypeassert // the simulator has no other
				bytes[i] = 900 << 20
			}
		}
	})
	return bytes
}

// simHandle is a worker as one daemon has it.
type simHandle struct {
	d      *simDaemon
	p      *simProc
	done   chan struct{}
	closed bool
}

func (p *simProc) handle(d *simDaemon) *simHandle {
	h := &simHandle{d: d, p: p, done: make(chan struct{})}
	p.handles = append(p.handles, h)
	d.handles = append(d.handles, h)
	p.signals = 0
	if p.ended {
		h.close()
	}
	return h
}

func (h *simHandle) close() {
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}

func (h *simHandle) PID() int              { return h.p.pid }
func (h *simHandle) StartTime() uint64     { return h.p.started }
func (h *simHandle) Tag() string           { return h.p.tag() }
func (h *simHandle) Cgroup() string        { return "" }
func (h *simHandle) Done() <-chan struct{} { return h.done }
func (h *simHandle) AfterExit(f func())    { go func() { <-h.done; f() }() }
func (h *simHandle) Exit() worker.Exit     { return h.p.exit }
func (h *simHandle) PIDs() []int           { return []int{h.p.pid} }
func (h *simHandle) Family() []int         { return []int{h.p.pid} }

func (h *simHandle) Handles(syscall.Signal) (bool, error) { return true, nil }

func (h *simHandle) Descriptor(f func(int) error) error {
	return f(h.d.open(h.p))
}

func (h *simHandle) Socket(inode uint64) (fd int, err error) {
	err = fmt.Errorf("worker %d has no socket %d", h.p.pid, inode)
	h.d.m.locked(func() {
		for _, s := range h.p.sockets {
			if s.inode == inode && !h.p.ended {
				s.refs++
				fd, err = h.d.keep(s), nil
			}
		}
	})
	return fd, err
}

func (h *simHandle) Signal(syscall.Signal) error {
	if !h.d.edge("signal " + h.p.String()) {
		return errSimDead
	}
	h.d.m.locked(func() {
		h.p.signals++
		h.d.m.logf("stop signal to %s, with %d connections", h.p, h.p.open())
		h.d.m.checkStop(h.p)
		h.p.stop()
	})
	return nil
}

func (h *simHandle) KillAll() error {
	if !h.d.edge("kill " + h.p.String()) {
		return errSimDead
	}
	if h.p.how.Leaves {
		time.Sleep(700 * time.Millisecond) // it looks through /proc until nothing is left
	}
	h.d.m.locked(func() {
		if h.d.dead {
			return
		}
		if !h.p.ended {
			h.d.m.checkKill(h.p)
			h.d.m.logf("SIGKILL to %s, with %d connections", h.p, h.p.open())
		}
		h.p.kill("killed by superctl")
	})
	return nil
}

// startWorker is system.start.
func (d *simDaemon) startWorker(ctx context.Context, spec worker.Spec) (process, error) {
	if !d.edge(fmt.Sprintf("start g%d %s.%d", spec.Generation, spec.Process, spec.Instance)) {
		return nil, errSimDead
	}
	switch how := d.m.release(spec.Release); {
	case !d.m.shows(&spec) || how.Start == "":
	case how.Start == "fails":
		return nil, errors.New("exec: no such file or directory")
	case how.Start == "hangs":
		time.Sleep(2 * simStart)
		if d.isDead() {
			return nil, errSimDead
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err // it was killed meanwhile
		}
	}
	var h *simHandle
	d.m.locked(func() {
		var sockets []*simSocket
		for _, f := range spec.Files {
			s, ok := d.fds[f.FD].(*simSocket)
			if !ok {
				continue // it was closed while the start was slow
			}
			sockets = append(sockets, s)
		}
		h = d.m.spawn(spec, sockets).handle(d)
	})
	return h, nil
}

// adoptWorker is system.adopt.
func (d *simDaemon) adoptWorker(ws workerState, _ int) (process, error) {
	if !d.edge(fmt.Sprintf("adopt %s.%d", ws.Process, ws.Instance)) {
		return nil, errSimDead
	}
	var h *simHandle
	d.m.locked(func() {
		for _, p := range d.m.procs {
			if p.pid == ws.PID && p.started == ws.StartTime && p.tag() == ws.Tag && !p.ended {
				h = p.handle(d)
			}
		}
	})
	if h == nil {
		return nil, worker.ErrGone
	}
	return h, nil
}

// findWorkers is system.find.
func (d *simDaemon) findWorkers(string) (list []worker.Found, err error) {
	if !d.edge("find") {
		return nil, errSimDead
	}
	d.m.locked(func() {
		for _, p := range d.m.procs {
			if !p.ended {
				list = append(list, worker.Found{
					PID: p.pid, Start: p.started, UID: uint32(os.Geteuid()), Tag: p.tag(), //nolint:gosec // a user id
					Generation: p.spec.Generation, Process: p.spec.Process, Instance: p.spec.Instance,
					Output: p.spec.Output, Listeners: inodesOf(p.spec),
				})
			}
		}
	})
	return list, nil
}

// endWorker is system.end.
func (d *simDaemon) endWorker(ws workerState) error {
	if !d.edge(fmt.Sprintf("end %s.%d", ws.Process, ws.Instance)) {
		return errSimDead
	}
	d.m.locked(func() {
		for _, p := range slices.Clone(d.m.procs) {
			if p.tag() == ws.Tag {
				p.kill("ended by the next daemon")
			}
		}
	})
	return nil
}

// sweepWorkers is system.sweep.
func (d *simDaemon) sweepWorkers(_ string, kept func(tag string) bool) error {
	if !d.edge("sweep") {
		return errSimDead
	}
	d.m.locked(func() {
		d.m.endCommands("swept by the next daemon")
		for _, p := range slices.Clone(d.m.procs) {
			if !kept(p.tag()) {
				p.kill("swept by the next daemon")
			}
		}
	})
	return nil
}

// runHook is system.run.
func (d *simDaemon) runHook(ctx context.Context, c worker.Command, line func(string)) error {
	if !d.edge("hook " + c.Args[0]) {
		return errSimDead
	}
	how := d.m.release(variable(c.Env, "SUPERCTL_RELEASE")).Hook
	took := 50 * time.Millisecond
	switch how {
	case "slow":
		took = 3 * time.Second
	case c.Args[0] + " hangs":
		took = time.Hour
	}
	line("hello")
	if c.Args[0] == simCron {
		return d.runCron(ctx, c)
	}
	var process *simCommand
	d.m.locked(func() { process = d.m.command(d, c, took) })
	select {
	case <-time.After(took):
	case <-ctx.Done():
		d.m.locked(process.end)
		return context.Cause(ctx)
	case <-d.died:
		return errSimDead
	}
	if how == c.Args[0]+" fails" {
		return errors.New("exit status 1")
	}
	return nil
}

// simOutput is the pipe of a worker. Its line is handed to whoever reads it first.
type simOutput struct {
	d    *simDaemon
	mu   sync.Mutex
	line func(worker.Line)
}

func (o *simOutput) OnLine(line func(worker.Line)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line = line
}

func (o *simOutput) Run(ctx context.Context) error {
	if err := o.Drain(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (o *simOutput) Drain() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.line == nil {
		return errors.New("nobody is handed the lines")
	}
	o.line(worker.Line{Text: []byte("hello")})
	return nil
}

func (o *simOutput) Close() error                       { return nil }
func (o *simOutput) Descriptor(f func(int) error) error { return f(o.d.open("a pipe")) }
