package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

func (s *Supervisor) adoptGenerations(st *state) error {
	found := s.findWorkers(st)
	for i := range st.Generations {
		if err := s.adoptGeneration(st, &st.Generations[i], found); err != nil {
			return err
		}
	}
	return nil
}

// adoptGeneration rebuilds a generation around those of its workers that still run.
func (s *Supervisor) adoptGeneration(st *state, gs *generationState, found []worker.Found) error {
	s.next = max(s.next, gs.ID+1)
	s.adoptValues(gs.ID, &gs.Plan)
	g := &generation{
		id: gs.ID, plan: gs.Plan, gates: s.gatesOf(st, gs), state: gs.State, since: gs.Since, held: gs.Held &&
			gs.State == Standby, tried: gs.Tried,
		staged: make(map[string]int), proofs: make(map[string]*proof), done: make(chan struct{}),
	}
	gs.Workers = append(gs.Workers, gs.unrecorded(found)...)
	for i := range gs.Workers {
		ws := &gs.Workers[i]
		w, err := s.adoptWorker(g.id, ws)
		if err != nil && !errors.Is(err, worker.ErrGone) {
			return fmt.Errorf("adopt worker %s.%d (pid %d): %w", ws.Process, ws.Instance, ws.PID, err)
		}
		p := g.process(ws.Process)
		if err != nil || p == nil || gs.Private {
			if err := s.os.end(*ws); err != nil { // it may be in a call of the kernel's that does not end
				s.log.Error("end what is left of a worker", zap.String("process", ws.Process), zap.Int(
					"instance", ws.Instance,
				),
					zap.Int("pid", ws.PID), zap.Error(err))
			}
			w = nil
		}
		if w == nil && !gs.Private {
			w = s.adoptFound(g, ws, found)
		}
		if p != nil && !gs.Private {
			s.adoptInstance(g, p, ws, w)
		}
		// it has kept the pipe alive until it was opened by its path
		s.dropInherited(outputName(g.id, ws.Process, ws.Instance))
	}
	if gs.Private ||
		!slices.ContainsFunc(g.instances, func(in *instance) bool { return in.w != nil }) && gs.State != Live &&
			!g.held {
		return nil // nothing of it runs
	}
	s.generations[g.id] = g
	return nil
}

// adoptWorker takes over one worker. The reason of one that has ended meanwhile says how, where
// that is known.
func (s *Supervisor) adoptWorker(gen int, ws *workerState) (process, error) {
	pidfd := s.takeInherited(workerName(gen, ws.Process, ws.Instance))
	if ws.PID == 0 {
		if pidfd >= 0 {
			s.os.close(pidfd)
		}
		return nil, worker.ErrGone
	}
	w, err := s.os.adopt(*ws, pidfd)
	if errors.Is(err, worker.ErrGone) {
		ws.Reason = "ended while no daemon was there"
		var gone *worker.GoneError
		if errors.As(err, &gone) {
			ws.Reason += ": " + gone.Exit.String()
		}
	}
	return w, err
}

// takeInherited is the descriptor that an earlier daemon has handed over under that name, or -1.
func (s *Supervisor) takeInherited(name string) int {
	if s.opt.Inherited != nil {
		if fd, ok := s.opt.Inherited(name); ok {
			return fd
		}
	}
	return -1
}

func (s *Supervisor) dropInherited(name string) {
	if fd := s.takeInherited(name); fd >= 0 {
		s.os.close(fd)
	}
}

func (g *generation) process(name string) *Process { return g.plan.process(name) }

// adoptInstance puts an instance where it was. w is nil when its worker is gone.
func (s *Supervisor) adoptInstance(g *generation, p *Process, ws *workerState, w process) {
	in := &instance{
		gen: g, proc: p, index: ws.Instance, state: InstanceExited, since: ws.Since, restarts: ws.Restarts,
		reason: ws.Reason,
		tail:   worker.NewTail(tailLines), own: maps.Clone(ws.Own), flag: flag{path: ws.Flag}, hooked: ws.Hooked,
		scratch: cmp.Or(ws.Scratch, g.id),
	}
	g.instances = append(g.instances, in)
	in.pid.Store(int64(ws.PID))
	if ws.Output != "" {
		if err := s.readOutput(in, ws.Output); err != nil {
			s.log.Error("open the output of an adopted worker", append(s.fields(in), zap.Error(err))...)
		}
	}
	if w == nil {
		if ws.PID != 0 {
			s.log.Warn("worker ended", append(s.fields(in), zap.String("reason", ws.Reason))...)
		}
		s.letGo(in) // once its last words are read
		return
	}
	in.w, in.born, in.turn = w, ws.Since, 1
	s.watch(in, in.turn, w)
	s.log.Info("worker adopted", s.fields(in)...)
	if err := s.opt.Cgroups.Limit(w.Cgroup(), p.limits()); err != nil {
		s.log.Error("control group", append(s.fields(in), zap.Error(err))...)
	}
	switch {
	case g.state == Draining || ws.State == InstanceStopping || ws.State == InstanceKilling:
		// Whether it has had its stop signal is not known; a second one changes nothing (measured
		// for each preset).
		in.state = InstanceStopping
		// finishDraining goes on with it, when its listeners are adopted too.
	case ws.State == InstanceReady:
		in.state, in.wanted, in.notified, in.healthy = InstanceReady, true, true, true
	default:
		in.state, in.wanted, in.notified = InstanceStarting, true, ws.Notified
	}
}

// finishDraining has the adopted workers that were told to finish go on with that. Whether one has
// had its stop signal is not known; a second one changes nothing (measured for each preset).
func (s *Supervisor) finishDraining(*state) error {
	for _, g := range ordered(s.generations) {
		for _, in := range g.instances {
			if in.state != InstanceStopping || in.w == nil {
				continue
			}
			since := time.Since(in.since)
			s.findHook(in)
			if left := in.patience() - since; left > 0 && g.state == Draining {
				s.linger(in, left, lookEvery)
				continue
			}
			s.sendStop(in)
			s.arm(in, max(0, in.patience()+in.proc.Drain-since), drainElapsed)
		}
	}
	return nil
}

// awaitReady has the adopted workers that were starting prove themselves; they need their listeners
// for that.
func (s *Supervisor) awaitReady(g *generation) {
	for _, in := range g.instances {
		if in.state == InstanceStarting && in.w != nil {
			s.becomeReady(in)
		}
	}
}

// adoptLive makes the generation live again that the state file says is live, whatever the gates
// said when the last daemon ended: the file is what decides (DESIGN 6). A gate that cannot be
// turned to it is no reason not to start: its workers serve on, and get successors with listeners
// whose places are known (see renew).
func (s *Supervisor) adoptLive(st *state) error {
	g := s.generations[st.Live]
	if g == nil {
		return nil
	}
	half := s.halfRolled(st)
	serves := slices.ContainsFunc(g.instances, func(in *instance) bool {
		return in.w != nil && len(in.proc.Listen) > 0
	})
	if half == nil && len(g.numbers()) == 0 && !serves && g.hasListeners() {
		// Neither listeners nor workers have survived: there is nothing to go on with.
		s.retire(g)
		if g = s.twin(g); g == nil {
			return nil
		}
	}
	g.state = Live
	s.live = g
	s.interrupted = *st
	s.rolling = half
	s.direct(g)
	s.aim()
	return nil
}

// direct turns the gates to an adopted generation, as far as this daemon has its listeners and
// knows their places.
func (s *Supervisor) direct(g *generation) {
	for _, name := range g.listeners() {
		numbers := g.serving(name)
		if err := g.gates[name].Spread(numbers); err != nil {
			s.log.Error(
				"the listener of an earlier daemon cannot be directed", zap.String("listener", name),
				zap.Int("generation", g.id), zap.Error(err),
			)
			g.astray = true
			continue
		}
		s.aimed[name] = numbers
	}
	if name := g.lacks(); name != "" && s.rolling == nil {
		s.log.Warn(
			"the listener is held by the workers only", zap.String("listener", name), zap.Int("generation", g.id),
		)
		g.astray = true
	}
}

// twin finds another generation of the same release that serves: the one before a hold or a
// restart, which was not stopped yet.
func (s *Supervisor) twin(lost *generation) *generation {
	for _, g := range s.generations {
		if g.state == Standby && g.plan.Release.Path == lost.plan.Release.Path && len(g.numbers()) > 0 &&
			slices.ContainsFunc(g.instances, func(in *instance) bool {
				return in.w != nil && len(in.proc.Listen) > 0
			}) {
			return g
		}
	}
	return nil
}

func (g *generation) hasListeners() bool {
	return slices.ContainsFunc(g.plan.Processes, func(p Process) bool { return len(p.Listen) > 0 })
}
