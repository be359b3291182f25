package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
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
	owner *Supervisor
	gen   *generation
	proc  *Process // of gen.plan when the instance was made
	index int

	// own are the listeners that are this instance's alone; none = those of its generation.
	own map[string]listener

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
	vouched  bool     // it need not pass its health check: see rolling.vouch
	seen     bool     // it was looked at, so that it may be ready
	dead     bool     // its main process has ended; what that has left behind is being killed
	finding  string   // what the newest look has found; "" = nothing
	look     *lookout // nil but while it starts
	restarts int
	streak   int // deaths without a long life in between
	reason   string
	death    string      // the reason of the newest end that was not asked for
	refusal  string      // why it is given up before its start timeout
	says     string      // newest STATUS=
	lingers  *lingerWait // its stop signal waits; nil = it does not
	flag     flag        // by which its worker knows that it drains
	hooked   bool        // its worker has the drain hook, which looks at the flag
	place    string      // under which its workers' requests are counted (package requests); "" = they are not

	tail     *worker.Tail
	pid      atomic.Int64 // for the lines that are read outside the owner
	spawning bool         // between its start and the moment when its pid is known

	out       output
	outPath   string
	mute      context.CancelCauseFunc // ends the reading of out: for good, or with errPaused
	readEnded chan struct{}           // closed when the reading has ended
}

func (in *instance) String() string { return fmt.Sprintf("%s.%d", in.proc.Name, in.index) }

// fire moves an instance by its table and does what the transition says.
func (in *instance) fire(ev instanceEvent) {
	t, ok := instanceTable[in.state][ev]
	if !ok {
		panic(fmt.Sprintf("supervisor: no transition for an instance that is %s and %s", in.state, ev))
	}
	if t.to != in.state {
		in.owner.log.Debug("instance", zap.Int("generation", in.gen.id), zap.Stringer("instance", in),
			zap.String("from", string(in.state)), zap.String("to", string(t.to)), zap.String("event", string(ev)))
		in.state, in.since = t.to, time.Now()
		in.disarm()
		in.endLook()
		if t.do != doRecall {
			in.lingers = nil
		}
		in.owner.journal.dirty = true
	}
	switch t.do {
	case doNothing:
	case doSpawn:
		in.spawn()
	case doReady:
		in.atReady()
	case doBackoff:
		in.backOff()
	case doStop:
		in.signalStop()
	case doRecall:
		in.lingers.recall()
	case doKill:
		in.kill()
	case doGiveUp:
		in.giveUp()
	case doCut:
		in.cut()
	case doRelease:
		in.release()
	case doFail:
		in.gen.fail(in, in.String()+" "+in.reason)
	}
}

// start has the instance run, from now or from when its present worker is gone; while the daemon
// stops it does nothing.
func (in *instance) start() {
	if in.owner.stopping {
		return
	}
	in.wanted, in.leaving = true, false
	if in.lingers != nil {
		in.fire(recalled)
		return
	}
	in.fire(startAsked)
}

// stop has the instance finish.
func (in *instance) stop() {
	in.wanted = false
	in.fire(stopAsked)
}

// group makes the control group of a worker that is about to start. One that cannot be made, or not
// as it should be, is no reason for a site to be down.
func (co *core) group(spec worker.Spec, limits cgroup.Limits) string {
	dir, err := co.opt.Cgroups.Make(spec.Generation, fmt.Sprintf("%s.%d", spec.Process, spec.Instance), limits)
	if err != nil {
		co.log.Error(
			"control group", zap.String("process", spec.Process), zap.Int("instance", spec.Instance), zap.Error(err),
		)
	}
	return dir
}

// begun takes the result of a start.
func (in *instance) begun(turn int, s spawned, err error) {
	in.spawning = false
	if s.out != nil {
		in.readOutput(s.out)
	}
	if err != nil {
		in.reason = in.gen.plan.redactor.Text("could not be started: " + err.Error())
		in.owner.log.Warn("worker not started", append(in.fields(), zap.String("reason", in.reason))...)
		in.gone()
		return
	}
	in.w = s.w
	in.pid.Store(int64(s.w.PID()))
	in.owner.journal.dirty = true
	in.owner.log.Info("worker started", in.fields()...)
	in.watch(turn, s.w)
	switch in.state {
	case InstanceStopping: // it was told to stop before it was there
		in.signalStop()
	case InstanceKilling:
		in.kill()
	case InstanceStarting:
		in.becomeReady()
		in.owner.mailbox.deliverUnclaimed()
	case InstanceIdle, InstanceReady, InstanceBackoff, InstanceExited, InstanceFailed:
		panic("supervisor: a worker began in an instance that is " + string(in.state))
	}
}

// becomeReady has a starting worker prove itself, within its time.
func (in *instance) becomeReady() {
	p := in.proc
	in.lookAt()
	asks := p.Health != nil && !in.vouched
	if p.Notify || asks {
		in.arm(p.StartTimeout, startTimedOut)
		if in.healthy = !asks; asks {
			in.prove()
		}
		in.maybeReady() // an adopted one may have said READY=1 to an earlier daemon
		return
	}
	in.healthy, in.notified = true, true
	in.later(p.ReadyAfter, func() {
		in.arm(p.StartTimeout, startTimedOut) // of the look
		in.maybeReady()
	})
}

// watch waits for the end of a worker. What it leaves behind is killed before the end is told:
// orphans would go on accepting from the listener (uvicorn's and hypercorn's do for ever), and of a
// `single` process two must never run.
func (in *instance) watch(turn int, w process) {
	out := in.out
	in.owner.afterExit(w, func() {
		in.owner.post(func() { // before all else, which takes its time
			in.dead = in.dead || turn == in.turn
			in.gen.endCanary()
		})
		oom := cgroup.OutOfMemory(w.Cgroup())
		err := errors.Join(w.KillAll(), in.owner.opt.Cgroups.Remove(w.Cgroup()))
		if out != nil {
			err = errors.Join(err, out.Drain()) // its last words are in the report of its end
		}
		in.owner.post(func() {
			if turn != in.turn {
				return
			}
			if err != nil {
				in.owner.log.Error("what a worker left behind", append(in.fields(), zap.Error(err))...)
			}
			in.exited(w.Exit(), oom)
			in.owner.strays.hunt()
		})
	})
}

// lifetime formats how long a worker lived, such as 0.6 s or 3m20s.
func lifetime(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// exited takes the end of a worker.
func (in *instance) exited(exit worker.Exit, oom cgroup.OOM) {
	lived := time.Since(in.born)
	level := zap.InfoLevel
	switch {
	case in.state == InstanceKilling && in.reason != "":
		// Why it was killed says more than that it was.
	case in.state == InstanceStopping || in.state == InstanceKilling:
		in.reason = "stopped: " + exit.String()
	default:
		level = zap.WarnLevel
		in.reason = fmt.Sprintf("ended after %s: %s", lifetime(lived), ending(exit, oom))
		if in.gen.respawns() {
			in.gen.deaths++
			in.gen.lastDeath = in.String() + " " + in.reason
			in.gen.deathLog = in.tail.Lines()
		}
		if in.gen.state == Staged && in.gen.tried {
			in.gen.fail(in, in.gen.lastDeath)
		}
	}
	in.owner.log.Log(level, "worker ended", append(in.fields(), zap.String("reason", in.reason))...)
	in.w = nil
	in.gone()
}

// gone follows the end of a worker, or of the attempt to start one.
func (in *instance) gone() {
	if in.wanted && (in.gen.respawns() || in.state == InstanceStopping) {
		in.fire(died)
		return
	}
	in.fire(ended)
}

// maybeReady moves a starting instance on when it has all that it needs.
func (in *instance) maybeReady() {
	if in.w != nil && in.proved() && in.mayBeReady() {
		in.fire(becameReady)
	}
}

// proved reports whether the worker has said and shown what it must before it may serve.
func (in *instance) proved() bool {
	return (!in.proc.Notify || in.notified) && (in.proc.Health == nil || in.healthy)
}

// atReady follows when a worker has become ready. It puts back what a server changes on a listener that it
// inherits: gunicorn and others set its backlog again.
func (in *instance) atReady() {
	in.owner.outlive(in)
	in.reason, in.vouched = "", false
	in.owner.flags.warnWithoutHook(in)
	for _, name := range in.proc.Listen {
		if err := in.listener(name).relisten(); err != nil {
			in.owner.log.Error("restore listener", append(in.fields(), zap.String("listener", name), zap.Error(err))...)
		}
	}
}

func (in *instance) backOff() {
	if time.Since(in.born) >= longLife {
		in.streak = 0
	}
	in.restarts++
	in.death = in.reason
	wait := in.owner.backoff(in.streak)
	in.streak++
	in.arm(wait, backoffElapsed)
}

// release lets go of what an instance held for its workers.
func (in *instance) release() {
	in.owner.flags.drop(in)
	if in.out == nil {
		return
	}
	mute := in.mute
	in.out, in.mute, in.outPath = nil, nil, ""
	mute(nil)
}

// spec says what to start for the instance.
func (in *instance) spec() (worker.Spec, error) {
	p := in.proc
	spec := worker.Spec{
		App: in.owner.opt.App, Release: in.gen.plan.Release.Name, Commit: in.gen.plan.Release.Commit,
		Generation: in.gen.id,
		Process:    p.Name, Instance: in.index,
		Command: p.Command, Env: p.Env, Templates: p.Templates, Secrets: p.Secrets, Dir: p.Dir, User: p.User,
		Notify: in.owner.opt.Notify, Output: in.outPath, NoFile: p.NoFile, HideListen: p.HideListen,
		Mark: in.owner.mark(),
	}
	if in.flag.path != "" {
		spec.Flag, spec.Probes = in.flag.path, p.Health.Paths()
		if in.proc.Hook || in.proc.Counts {
			spec.Hook = in.owner.opt.Hook
		}
	}
	for _, name := range p.Listen {
		l := in.listener(name)
		if !l.held() {
			return spec, fmt.Errorf(
				"listener %q of its generation is not held by this daemon: superctl restart %s gives it a new one",
				name, p.Name,
			)
		}
		fd, err := l.fd()
		if err != nil {
			return spec, fmt.Errorf("listener %q: %w", name, err)
		}
		spec.Files = append(spec.Files, worker.File{Name: name, FD: fd, Addr: l.gate.Address(), Inode: in.owner.inode(fd)})
	}
	return spec, nil
}

// arm sets the one timer that an instance has: in each of its states it waits for one thing at
// most.
func (in *instance) arm(d time.Duration, ev instanceEvent) {
	in.later(d, func() { in.fire(ev) })
}

// later is arm for what is more than an event.
func (in *instance) later(d time.Duration, f func()) {
	in.disarm()
	turn, state, who := in.turn, in.state, in.String()
	in.timer = time.AfterFunc(d, func() {
		in.owner.enter(who)
		in.owner.post(func() {
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

func (in *instance) fields() []zap.Field {
	f := []zap.Field{
		zap.String("release", in.gen.plan.Release.Name), zap.Int("generation", in.gen.id),
		zap.String("process", in.proc.Name), zap.Int("instance", in.index),
	}
	if in.w != nil {
		f = append(f, zap.Int("pid", in.w.PID()))
	}
	return f
}
