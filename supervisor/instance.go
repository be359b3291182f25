package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
)

const (
	tailLines = 40              // of one instance, for the report of a failure
	deathBed  = 5 * time.Second // for a worker that never had traffic, from its stop signal to SIGKILL
)

// instance is one numbered place of a process in a generation, and the worker that fills it now.
// Owned by Run.
type instance struct {
	gen   *generation
	proc  *Process // of gen.plan when the instance was made
	index int

	// own says under which number a gate knows each listener that is this instance's alone; none =
	// those of its generation.
	own map[string]int

	scratch int // generation whose scratch directory its workers have: the one that it was made for

	state   InstanceState
	since   time.Time
	wanted  bool // whether it should run
	leaving bool // it is about to be told to finish: connections are turned away from it
	w       process
	born    time.Time
	turn    int // counts workers; what belongs to an earlier one is late and ignored
	timer   *time.Timer

	notified bool     // said READY=1
	healthy  bool     // its process passed its health check since it started
	seen     bool     // it was looked at, so that it may be ready
	finding  string   // what the newest look has found; "" = nothing
	look     *lookout // nil but while it starts
	restarts int
	streak   int // deaths without a long life in between
	reason   string
	refusal  string // why it is given up before its start timeout
	says     string // newest STATUS=
	enough   func() // ends its lingering; nil = it has never lingered
	flag     flag   // by which its worker knows that it drains
	hooked   bool   // its worker has the drain hook, which looks at the flag

	tail     *worker.Tail
	pid      atomic.Int64 // for the lines that are read beside the owner
	spawning bool         // between its start and the moment when its pid is known

	out     output
	outPath string
	mute    context.CancelCauseFunc // ends the reading of out: for good, or with errPaused
	read    chan struct{}           // closed when the reading has ended
}

func (in *instance) String() string { return fmt.Sprintf("%s.%d", in.proc.Name, in.index) }

// fire moves an instance by its table and does what the transition says.
func (s *Supervisor) fire(in *instance, ev instanceEvent) {
	t, ok := instanceTable[in.state][ev]
	if !ok {
		panic(fmt.Sprintf("supervisor: no transition for an instance that is %s and %s", in.state, ev))
	}
	if t.to != in.state {
		s.log.Debug("instance", zap.Int("generation", in.gen.id), zap.Stringer("instance", in),
			zap.String("from", string(in.state)), zap.String("to", string(t.to)), zap.String("event", string(ev)))
		in.state, in.since = t.to, time.Now()
		in.disarm()
		in.endLook()
		s.dirty = true
	}
	switch t.do {
	case doNothing:
	case doSpawn:
		s.spawn(in)
	case doReady:
		s.relisten(in)
	case doBackoff:
		s.backOff(in)
	case doStop:
		s.signalStop(in)
	case doKill:
		s.kill(in)
	case doGiveUp:
		s.giveUp(in)
	case doCut:
		s.cut(in)
	case doRelease:
		s.letGo(in)
	case doFail:
		s.fail(in.gen, in, in.String()+" "+in.reason)
	}
}

// want has the instance run, from now or from when its present worker is gone; while the daemon
// stops it does nothing.
func (s *Supervisor) want(in *instance) {
	if s.stopping {
		return
	}
	in.wanted, in.leaving = true, false
	s.fire(in, startAsked)
}

// unwant has the instance finish.
func (s *Supervisor) unwant(in *instance) {
	in.wanted = false
	s.fire(in, stopAsked)
}

// spawn starts a worker for the instance. The start runs beside the owner, because it waits for the
// kernel to have loaded the program; it comes back as begun.
func (s *Supervisor) spawn(in *instance) {
	in.turn++
	in.notified, in.healthy, in.says, in.refusal = false, false, "", ""
	in.born = time.Now()
	s.openFlag(in)
	err := s.openOutput(in)
	var spec worker.Spec
	if err == nil {
		spec, err = s.spec(in)
	}
	turn := in.turn
	in.spawning = true
	if err != nil {
		s.beside(func() { s.post(func() { s.begun(in, turn, nil, err) }) })
		return
	}
	limits, scratch, limit, who := in.proc.limits(), in.scratch, in.proc.StartTimeout, in.String()
	s.beside(func() {
		w, err := s.startWithin(limit, func() (process, error) {
			spec.Cgroup = s.group(spec, limits)
			spec.Scratch = s.scratch(scratch, spec.User)
			return s.os.start(spec)
		})
		s.enter(who)
		s.post(func() { s.begun(in, turn, w, err) })
	})
}

// startWithin starts a worker, or gives up after the limit: the kernel may take for ever to load a
// program from a file system that does not answer. Nothing can end that, so it goes on by itself,
// and what comes of it in the end is killed.
func (s *Supervisor) startWithin(limit time.Duration, start func() (process, error)) (process, error) {
	type result struct {
		w   process
		err error
	}
	started := make(chan result, 1)
	go func() {
		w, err := start()
		started <- result{w, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-started:
		return r.w, r.err
	case <-timer.C:
	}
	go func() {
		if r := <-started; r.err == nil {
			if err := r.w.KillAll(); err != nil {
				s.log.Error("kill a worker that was started too late", zap.Int("pid", r.w.PID()), zap.Error(err))
			}
		}
	}()
	return nil, fmt.Errorf("its program was not loaded within %s: does the file system that it is on answer?", limit)
}

// group makes the control group of a worker that is about to start. One that cannot be made, or not
// as it should be, is no reason for a site to be down.
func (s *Supervisor) group(spec worker.Spec, limits cgroup.Limits) string {
	dir, err := s.opt.Cgroups.Make(spec.Generation, fmt.Sprintf("%s.%d", spec.Process, spec.Instance), limits)
	if err != nil {
		s.log.Error(
			"control group", zap.String("process", spec.Process), zap.Int("instance", spec.Instance), zap.Error(err),
		)
	}
	return dir
}

// begun takes the result of a start.
func (s *Supervisor) begun(in *instance, turn int, w process, err error) {
	in.spawning = false
	if err != nil {
		in.reason = in.gen.plan.redactor.Text("could not be started: " + err.Error())
		s.gone(in)
		return
	}
	in.w = w
	in.pid.Store(int64(w.PID()))
	s.dirty = true
	s.log.Info("worker started", s.fields(in)...)
	s.watch(in, turn, w)
	switch in.state {
	case InstanceStopping: // it was told to stop before it was there
		s.signalStop(in)
	case InstanceKilling:
		s.kill(in)
	case InstanceStarting:
		s.becomeReady(in)
		s.claim()
	case InstanceIdle, InstanceReady, InstanceBackoff, InstanceExited, InstanceFailed:
		panic("supervisor: a worker began in an instance that is " + string(in.state))
	}
}

// becomeReady has a starting worker prove itself, within its time.
func (s *Supervisor) becomeReady(in *instance) {
	p := in.proc
	s.lookAt(in)
	if p.Notify || p.Health != nil {
		s.arm(in, p.StartTimeout, startTimedOut)
		s.prove(in)
		return
	}
	in.healthy, in.notified = true, true
	s.later(in, p.ReadyAfter, func() {
		s.arm(in, p.StartTimeout, startTimedOut) // of the look
		s.maybeReady(in)
	})
}

// watch waits for the end of a worker. What it leaves behind is killed before the end is told:
// orphans would go on accepting from the listener (uvicorn's and hypercorn's do for ever), and of a
// `single` process two must never run.
func (s *Supervisor) watch(in *instance, turn int, w process) {
	out := in.out
	s.beside(func() {
		<-w.Done()
		s.post(func() { s.endCanary(in.gen) }) // before all else, which takes its time
		oom := cgroup.OutOfMemory(w.Cgroup())
		err := errors.Join(w.KillAll(), s.opt.Cgroups.Remove(w.Cgroup()))
		if out != nil {
			err = errors.Join(err, out.Drain()) // its last words are in the report of its end
		}
		s.post(func() {
			if turn != in.turn {
				return
			}
			if err != nil {
				s.log.Error("what a worker left behind", append(s.fields(in), zap.Error(err))...)
			}
			s.exited(in, w.Exit(), oom)
			s.endStrays()
		})
	})
}

// exited takes the end of a worker.
func (s *Supervisor) exited(in *instance, exit worker.Exit, oom cgroup.OOM) {
	lived := time.Since(in.born).Round(time.Millisecond)
	level := zap.InfoLevel
	switch {
	case in.state == InstanceKilling && in.reason != "":
		// Why it was killed says more than that it was.
	case in.state == InstanceStopping || in.state == InstanceKilling:
		in.reason = "stopped: " + exit.String()
	default:
		level = zap.WarnLevel
		in.reason = fmt.Sprintf("ended after %s: %s", lived, ending(exit, oom))
		if in.gen.respawns() {
			in.gen.deaths++
			in.gen.lastDeath = in.String() + " " + in.reason
			in.gen.deathLog = in.tail.Lines()
		}
		if in.gen.state == Staged && in.gen.tried {
			s.fail(in.gen, in, in.gen.lastDeath)
		}
	}
	s.log.Log(level, "worker ended", append(s.fields(in), zap.String("reason", in.reason))...)
	in.w = nil
	s.gone(in)
}

// gone follows the end of a worker, or of the attempt to start one.
func (s *Supervisor) gone(in *instance) {
	if in.wanted && (in.gen.respawns() || in.state == InstanceStopping) {
		s.fire(in, died)
		return
	}
	s.fire(in, ended)
}

// maybeReady moves a starting instance on when it has all that it needs.
func (s *Supervisor) maybeReady(in *instance) {
	p := in.proc
	if in.w != nil && (!p.Notify || in.notified) && (p.Health == nil || in.healthy) && s.mayBeReady(in) {
		s.fire(in, becameReady)
	}
}

// relisten puts back what a server changes on a listener that it inherits: gunicorn and others set
// its backlog anew.
func (s *Supervisor) relisten(in *instance) {
	in.reason = ""
	s.missesHook(in)
	for _, name := range in.proc.Listen {
		if err := in.gen.gates[name].Relisten(in.number(name)); err != nil {
			s.log.Error("restore listener", append(s.fields(in), zap.String("listener", name), zap.Error(err))...)
		}
	}
}

func (s *Supervisor) backOff(in *instance) {
	if time.Since(in.born) >= longLife {
		in.streak = 0
	}
	in.restarts++
	wait := s.backoff(in.streak)
	in.streak++
	s.arm(in, wait, backoffElapsed)
}

// signalStop has a worker stop, at once or when its connections have ended.
func (s *Supervisor) signalStop(in *instance) {
	if in.w == nil {
		return // begun comes back to it
	}
	s.tell(in)
	s.findHook(in)
	if limit := s.lingers(in); limit > 0 {
		s.linger(in, limit, 0)
		return
	}
	s.sendStop(in)
}

// sendStop sends the stop signal to the main process only: sent to the group, it cuts requests on
// uWSGI and hypercorn.
func (s *Supervisor) sendStop(in *instance) {
	if err := in.w.Signal(syscall.Signal(in.proc.StopSignal)); err != nil {
		s.log.Error("send stop signal", append(s.fields(in), zap.Error(err))...)
	}
	s.arm(in, in.drainLimit(), drainElapsed)
}

// drainLimit is how long the worker may take from its stop signal on: there is nothing to wait for
// in one that never had traffic.
func (in *instance) drainLimit() time.Duration {
	if in.gen.failure != nil && !in.gen.tried {
		return min(in.proc.Drain, deathBed)
	}
	return in.proc.Drain
}

// giveUp ends a worker that did not become ready in time, or is refused.
func (s *Supervisor) giveUp(in *instance) {
	in.reason = fmt.Sprintf("was not ready within %s", in.proc.StartTimeout)
	switch trouble := in.gen.trouble(in.lane()); {
	case in.refusal != "":
		in.reason = in.refusal
	case in.proc.Notify && !in.notified:
		in.reason += ": it has not said READY=1"
	case in.finding != "":
		in.reason += ": it " + in.finding
	case trouble != "":
		in.reason += ": " + trouble
	}
	if !in.gen.respawns() {
		s.fail(in.gen, in, in.String()+" "+in.reason)
		in.wanted = false
	}
	s.kill(in)
}

// cut ends a worker whose time to drain is over, and says what that costs.
func (s *Supervisor) cut(in *instance) {
	if in.w == nil {
		return
	}
	open, _ := in.counter()() // what could be counted
	in.reason = fmt.Sprintf("killed: it had not finished %s after its stop signal", in.drainLimit())
	text := fmt.Sprintf("%s of %s (generation %d) was %s", in, in.gen.plan.Release.Name, in.gen.id, in.reason)
	if len(in.proc.Listen) > 0 {
		text += fmt.Sprintf("; connections cut: %d", open)
	}
	in.gen.cost = append(in.gen.cost, text)
	s.log.Warn("drain limit reached", append(s.fields(in), zap.Int("connections_cut", open))...)
	s.kill(in)
}

// kill ends all of a worker, beside the owner: it looks through /proc until nothing is left.
func (s *Supervisor) kill(in *instance) {
	w := in.w
	if w == nil {
		return // begun comes back to it
	}
	s.beside(func() {
		if err := w.KillAll(); err != nil {
			s.log.Error("kill worker", zap.Int("pid", w.PID()), zap.Error(err))
		}
	})
}

// letGo lets go of what an instance held for its workers.
func (s *Supervisor) letGo(in *instance) {
	s.dropFlag(in)
	if in.out == nil {
		return
	}
	mute := in.mute
	in.out, in.mute, in.outPath = nil, nil, ""
	mute(nil)
}

// errPaused ends the reading of a pipe that is to be read on, by the next daemon or after all by
// this one.
var errPaused = errors.New("paused")

// pause stops the reading of an instance's pipe, and waits until it has stopped.
func (in *instance) pause() {
	in.mute(errPaused)
	<-in.read
}

// openOutput makes the pipe that all workers of the instance write to, and reads it until the
// instance is released. Its path is one that there has never been: the pipe of an earlier worker is
// removed, by its path, when its last words are read.
func (s *Supervisor) openOutput(in *instance) error {
	if in.out != nil {
		return nil
	}
	return s.readOutput(
		in,
		filepath.Join(s.opt.State, "log", fmt.Sprintf("g%d.%s.%d.%s", in.gen.id, in.proc.Name, in.index, rand.Text())),
	)
}

// readOutput opens the pipe at path and reads it until the instance is released.
func (s *Supervisor) readOutput(in *instance, path string) error {
	out, err := s.os.output(path, in.proc.User)
	if err != nil {
		return err
	}
	in.out, in.outPath = out, path
	s.read(in)
	return nil
}

// read reads an instance's pipe until it is released or paused.
func (s *Supervisor) read(in *instance) {
	ctx, mute := context.WithCancelCause(context.Background())
	ended := make(chan struct{})
	in.mute, in.read = mute, ended
	out := in.out
	from := LogLine{Release: in.gen.plan.Release.Name, Generation: in.gen.id, Process: in.proc.Name, Instance: in.index}
	tail, secrets := in.tail, in.gen.plan.redactor
	s.beside(func() {
		defer close(ended)
		err := out.Run(ctx, func(l worker.Line) {
			text := secrets.Logged(string(l.Text))
			tail.Add([]byte(text))
			line := from
			line.Time, line.PID, line.Text = time.Now(), int(in.pid.Load()), text
			s.book.add(line)
		})
		if err != nil {
			s.log.Error(
				"read worker output", zap.String("process", from.Process), zap.Int("generation", from.Generation),
				zap.Error(err),
			)
		}
		if errors.Is(context.Cause(ctx), errPaused) {
			return
		}
		if err := out.Close(); err != nil {
			s.log.Error("close worker output", zap.Error(err))
		}
	})
}

// spec says what to start for the instance.
func (s *Supervisor) spec(in *instance) (worker.Spec, error) {
	p := in.proc
	spec := worker.Spec{
		App: s.opt.App, Release: in.gen.plan.Release.Name, Commit: in.gen.plan.Release.Commit, Generation: in.gen.id,
		Process: p.Name, Instance: in.index,
		Command: p.Command, Env: p.Env, Templates: p.Templates, Secrets: p.Secrets, Dir: p.Dir, User: p.User,
		Notify: s.opt.Notify, Output: in.outPath, NoFile: p.NoFile, HideListen: p.HideListen,
		Mark: s.mark(),
	}
	if in.flag.path != "" {
		spec.Flag = in.flag.path
		if in.proc.Hook {
			spec.Hook = s.opt.Hook
		}
	}
	for _, name := range p.Listen {
		gate := in.gen.gates[name]
		if in.number(name) == 0 {
			return spec, fmt.Errorf(
				"listener %q of its generation is not held by this daemon: superctl restart %s gives it a new one",
				name, p.Name,
			)
		}
		fd, err := gate.FD(in.number(name))
		if err != nil {
			return spec, fmt.Errorf("listener %q: %w", name, err)
		}
		spec.Files = append(spec.Files, worker.File{Name: name, FD: fd, Addr: gate.Address()})
	}
	return spec, nil
}

// arm sets the one timer that an instance has: in each of its states it waits for one thing at
// most.
func (s *Supervisor) arm(in *instance, d time.Duration, ev instanceEvent) {
	s.later(in, d, func() { s.fire(in, ev) })
}

// later is arm for what is more than an event.
func (s *Supervisor) later(in *instance, d time.Duration, f func()) {
	in.disarm()
	turn, state, who := in.turn, in.state, in.String()
	in.timer = time.AfterFunc(d, func() {
		s.enter(who)
		s.post(func() {
			if in.turn == turn && in.state == state {
				f()
			}
		})
	})
}

func (in *instance) disarm() {
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
}

func (s *Supervisor) fields(in *instance) []zap.Field {
	f := []zap.Field{
		zap.String("release", in.gen.plan.Release.Name), zap.Int("generation", in.gen.id),
		zap.String("process", in.proc.Name), zap.Int("instance", in.index),
	}
	if in.w != nil {
		f = append(f, zap.Int("pid", in.w.PID()))
	}
	return f
}
