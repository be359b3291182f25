package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"superctl/supervisor/drainhook"
	"superctl/supervisor/worker"
)

// wrong fails the test: what a fake was asked for cannot be. A test of the fakes takes the
// complaint instead.
func (w *world) wrong(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if w.complain != nil {
		w.complain(err.Error())
		return err
	}
	w.t.Helper()
	w.t.Error(err)
	return err
}

// freezesAt has a daemon stop at a fault point, as if it were killed there: its state file is copied for
// the next one. Closing the channel lets the daemon go on.
func freezesAt(t *testing.T, s *Supervisor, at, dir, copied string) (dead chan struct{}) {
	t.Helper()
	dead = make(chan struct{})
	s.opt.Fault = func(point string) {
		if point != at {
			return
		}
		data, err := os.ReadFile(filepath.Join(dir, stateName))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, stateName), data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
		<-dead
	}
	return dead
}

// startNothing keeps a daemon that stands still from starting again what ends.
func (w *world) startNothing() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.releases {
		w.releases[name] = behaviour{startErr: errors.New("dead")}
	}
}

// bury lets go of a daemon that has stood still since its death, to end the test. What it asks for
// now it would not have lived to ask.
func (w *world) bury(dead chan struct{}, stop func()) {
	w.complain = func(string) {}
	close(dead)
	stop()
}

// fakeSystem is the operating system as one daemon sees it. It checks what it is asked for before
// the world does it.
type fakeSystem struct {
	w     *world
	s     *Supervisor
	gates []*fakeGate // this daemon's

	mu     sync.Mutex
	opened map[string]*fakeOutput // every pipe that this daemon has ever opened, by its path
}

// newFakeSystem is what a daemon sees of the world: its own gates, and former ones.
func newFakeSystem(w *world, s *Supervisor) *fakeSystem {
	f := &fakeSystem{w: w, s: s, gates: slices.Clone(w.gates), opened: make(map[string]*fakeOutput)}
	for _, g := range s.opt.Gates {
		if g, ok := frontOf(g).Gate.(*fakeGate); ok && !slices.Contains(f.gates, g) {
			f.gates = append(f.gates, g)
		}
	}
	return f
}

func (f *fakeSystem) system() system {
	return system{
		close: f.close, start: f.start, output: f.output, run: f.run, adopt: f.adopt, inode: f.inode,
		find: f.find, sweep: f.sweep, strays: f.w.strays, end: f.end, measure: f.measure,
		memory: f.memory, alarm: f.alarm,
		write: f.write, sync: syncDir, held: drainhook.Held, chance: rand.Float64,
	}
}

// alarm rings in virtual time.
func (f *fakeSystem) alarm(at time.Time, ring func()) (stop func()) {
	timer := time.AfterFunc(time.Until(at), ring)
	return func() { timer.Stop() }
}

func (f *fakeSystem) write(path string, data []byte) error {
	var disk func(string) bool
	f.w.set(func() { disk = f.w.disk })
	if disk != nil && !disk(path) {
		return nil
	}
	return writeFile(path, data)
}

// start checks that a worker gets what belongs to its place: its own pipe, flag and listeners.
func (f *fakeSystem) start(ctx context.Context, spec worker.Spec) (process, error) {
	who := fmt.Sprintf("%s.%d of generation %d", spec.Process, spec.Instance, spec.Generation)
	named := spec.Process != "" && spec.Release != "" && spec.Generation > 0 && spec.Instance >= 0
	if !named || spec.App != f.s.opt.App || spec.Mark != f.s.mark() {
		return nil, f.w.wrong("%s is started as %+v", who, spec)
	}
	if spec.Flag != "" {
		own := fmt.Sprintf("g%d.%s.%d", spec.Generation, spec.Process, spec.Instance)
		if spec.Flag != filepath.Join(f.s.opt.Hook, own) {
			return nil, f.w.wrong("%s is started with the flag %s", who, spec.Flag)
		}
	}
	if err := f.ownsPipe(who, spec); err != nil {
		return nil, err
	}
	for _, file := range spec.Files {
		if err := f.ownsListener(who, spec, file); err != nil {
			return nil, err
		}
	}
	if f.w.begins != nil {
		if err := f.w.begins(spec); err != nil {
			return nil, err
		}
	}
	return f.w.start(ctx, spec)
}

// ownsPipe fails the test unless the pipe of a worker that starts is open, and its place's own.
func (f *fakeSystem) ownsPipe(who string, spec worker.Spec) error {
	f.mu.Lock()
	out := f.opened[spec.Output]
	f.mu.Unlock()
	switch {
	case out == nil || out.isClosed():
		return f.w.wrong("%s is started with the pipe %q, which this daemon has not opened", who, spec.Output)
	case out.place.process != spec.Process || out.place.instance != spec.Instance || out.place.gen > spec.Generation:
		return f.w.wrong("%s is started with the pipe of %+v", who, out.place)
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for _, p := range f.w.procs { // a restart of another process keeps the pipe, and the release
		if p.spec.Output == spec.Output && (p.spec.Release != spec.Release || p.alive()) {
			return f.w.wrong("%s is started with the pipe of worker %d of %s", who, p.pid, p.spec.Release)
		}
	}
	return nil
}

// ownsListener fails the test unless a descriptor is the listener of that name, and the
// generation's own where it has one.
func (f *fakeSystem) ownsListener(who string, spec worker.Spec, file worker.File) error {
	gate, number := listenerOf(f.gates, file.FD)
	if gate == nil || gate.name != file.Name || gate.Address() != file.Addr {
		return f.w.wrong("%s is started with the descriptor %d as the listener %q", who, file.FD, file.Name)
	}
	gen, own := number, false
	if g := number >> laneBits; g > 0 {
		gen, own = g, number == lane(g, spec.Instance)
		if !own {
			return f.w.wrong("%s is started with the listener %q of another instance", who, file.Name)
		}
	}
	if gen > spec.Generation || gen < spec.Generation && !own && gate.isStaged(spec.Generation) {
		return f.w.wrong("%s is started with the listener %q of generation %d", who, file.Name, gen)
	}
	return nil
}

// listenerOf finds the listener behind a descriptor; nil when no gate has it.
func listenerOf(gates []*fakeGate, fd int) (gate *fakeGate, number int) {
	all := slices.Clone(gates)
	for _, g := range gates {
		all = append(all, g.privates()...)
	}
	for _, g := range all {
		for _, m := range append(g.sockets(), g.Members()...) {
			if m.FD == fd {
				return g, m.Gen
			}
		}
	}
	return nil, 0
}

// pipePlace is whose output a pipe is for.
type pipePlace struct {
	gen      int
	process  string
	instance int
}

// pipeName is the name of a pipe: generation, process, instance, and what makes it unlike all
// before it.
var pipeName = regexp.MustCompile(`^g(\d+)\.(.+)\.(\d+)\.[A-Z2-7]{20,}$`)

func placeOf(path string) (at pipePlace, ok bool) {
	m := pipeName.FindStringSubmatch(filepath.Base(path))
	if m == nil {
		return at, false
	}
	at.process = m[2]
	at.gen, _ = strconv.Atoi(m[1]) // digits, by the pattern
	at.instance, _ = strconv.Atoi(m[3])
	return at, true
}

// output opens a pipe. Its path names its place, and is used once: the reader of an earlier one
// would remove it.
func (f *fakeSystem) output(path string, _ *worker.Credential) (output, error) {
	at, ok := placeOf(path)
	if !ok || filepath.Dir(path) != filepath.Join(f.s.opt.State, "log") && !f.w.piped(path) {
		return nil, f.w.wrong("the pipe %q is nobody's", path)
	}
	if f.w.piping != nil {
		f.w.piping()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opened[path] != nil {
		return nil, f.w.wrong("the pipe %q is opened a second time", path)
	}
	out := &fakeOutput{w: f.w, path: path, place: at}
	f.w.set(func() {
		f.w.outputs = append(f.w.outputs, out)
		out.fd = 1<<41 + len(f.w.outputs)
	})
	f.opened[path] = out
	if !f.w.pipes {
		return out, nil
	}
	pipe, err := worker.OpenOutput(path, nil)
	return realOutput{pipe, out}, err
}

// piped reports whether an earlier daemon, perhaps with another state directory, has opened the
// pipe.
func (w *world) piped(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.outputs, func(o *fakeOutput) bool { return o.path == path })
}

func (f *fakeSystem) run(ctx context.Context, c worker.Command, line func(string)) error {
	if c.Mark != f.s.mark() || len(c.Args) == 0 {
		return f.w.wrong("the command %q is started with the mark %q", c.Args, c.Mark)
	}
	if f.w.says != nil {
		f.w.says(c, line)
	}
	if f.w.hooks == nil {
		return nil
	}
	return f.w.hooks(ctx, c)
}

func (f *fakeSystem) adopt(ws workerState, pidfd int) (process, error) { return f.w.adopt(ws, pidfd) }

// inode is of a listener that is there.
func (f *fakeSystem) inode(fd int) (uint64, error) {
	if gate, _ := listenerOf(f.gates, fd); gate == nil && fd != strangeFD {
		return 0, f.w.wrong("descriptor %d is no listener", fd)
	}
	return uint64(1000 + fd), nil
}

// strangeFD is the descriptor of a listener that no gate knows.
const strangeFD = 1 << 62

// close closes a descriptor that was handed over and is not wanted: it must not be in use.
func (f *fakeSystem) close(fd int) {
	gate, number := listenerOf(f.gates, fd)
	known := gate != nil || fd == strangeFD || slices.ContainsFunc(f.w.processes(), func(p *fakeProc) bool {
		return p.pidfd() == fd
	})
	if !known || gate != nil && gate.isStaged(number) {
		_ = f.w.wrong("descriptor %d is closed", fd)
	}
}

func (f *fakeSystem) find(mark string) (list []worker.Found, err error) {
	if mark != f.s.mark() {
		return nil, f.w.wrong("workers with the mark %q are looked for", mark)
	}
	for _, p := range f.w.processes() {
		if p.alive() {
			found := worker.Found{
				PID: p.pid, Start: p.StartTime(), UID: uint32(os.Geteuid()), Tag: p.Tag(),
				Generation: p.spec.Generation, Process: p.spec.Process,
				Instance: p.spec.Instance, Output: p.spec.Output, Flag: p.spec.Flag, Listeners: inodesOf(p.spec),
			}
			if f.w.found != nil {
				found = f.w.found(found)
			}
			list = append(list, found)
		}
	}
	return list, nil
}

// inodesOf is what a worker's environment says of the listeners that it was given.
func inodesOf(spec worker.Spec) map[string]uint64 {
	list := make(map[string]uint64)
	for _, f := range spec.Files {
		list[f.Name] = f.Inode
	}
	return list
}

func (f *fakeSystem) sweep(mark string, knows func(tag string) bool) error {
	if mark != f.s.mark() {
		return f.w.wrong("the processes with the mark %q are ended", mark)
	}
	return f.w.sweep(mark, knows)
}

// end ends a worker of an earlier daemon, which must be just that one.
func (f *fakeSystem) end(ws workerState) error {
	if ws.PID == 0 {
		return nil
	}
	for _, p := range f.w.processes() {
		if p.pid == ws.PID {
			if err := f.w.same(p, ws); err != nil {
				return err
			}
			return p.KillAll()
		}
	}
	return f.w.wrong("worker %d, which has never been, is ended", ws.PID)
}

func (f *fakeSystem) measure(list []process) []worker.Usage {
	for _, p := range list {
		if p, ok := p.(*fakeProc); !ok || p.w != f.w {
			_ = f.w.wrong("%v is measured", p)
		}
	}
	return f.w.measure(list)
}

func (f *fakeSystem) memory(list []process) []uint64 {
	f.measure(list) // which fails the test for a process that is none
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	bytes := make([]uint64, len(list))
	for i, p := range list {
		bytes[i] = 100 << 20
		if f.w.memory != nil {
			bytes[i] = f.w.memory(p.(*fakeProc)) //nolint:forcetypeassert // measure has looked
		}
	}
	return bytes
}

// same fails the test unless the state of a worker is that of the process.
func (w *world) same(p *fakeProc, ws workerState) error {
	placed := ws.Process == p.spec.Process && ws.Instance == p.spec.Instance &&
		(ws.Output == p.spec.Output || ws.Output == "")
	if !placed || ws.Tag != p.Tag() || ws.StartTime != p.StartTime() {
		return w.wrong("worker %d is %s.%d, and is taken for %+v", p.pid, p.spec.Process, p.spec.Instance, ws)
	}
	return nil
}

func (w *world) processes() []*fakeProc {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.procs)
}

// Signal takes the signal that the worker handles, and the stop signal of every process of the
// tests' plans.
func (p *fakeProc) Signal(sig syscall.Signal) error {
	if sig == p.how.handles {
		p.w.set(func() { p.got = append(p.got, sig) })
		return nil
	}
	if sig != syscall.SIGTERM {
		return p.w.wrong("worker %d is sent %v", p.pid, sig)
	}
	return p.stop()
}
