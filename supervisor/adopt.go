package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"superctl/supervisor/worker"
)

// recover takes over from an earlier daemon: it learns what was live, adopts the workers that have outlived it together
// with their listeners, and ends those that belong to nobody.
func (s *Supervisor) recover() error {
	var st state
	for _, step := range []struct {
		name string
		do   func(*state) error
	}{
		{"read the state", s.recall},
		{"adopt workers", s.adoptGenerations},
		{"end what is nobody's", s.endStrangers},
		{"adopt listeners", s.adoptListeners},
		{"adopt the live generation", s.adoptLive},
		{"end what was not live", s.endUnproved},
	} {
		s.fault("recover", "before "+step.name)
		if err := step.do(&st); err != nil {
			return err
		}
		s.fault("recover", "after "+step.name)
	}
	return nil
}

// recall reads what the earlier daemon knew.
func (s *Supervisor) recall(st *state) (err error) {
	if err := os.MkdirAll(filepath.Join(s.opt.State, "log"), 0o711); err != nil { //nolint:gosec // a worker's user opens its own pipe in it
		return fmt.Errorf("make state directory: %w", err)
	}
	if *st, err = s.load(); err != nil {
		return err
	}
	s.next, s.release, s.previous, s.last = st.Next, st.Release, st.Previous, st.Last
	s.liveSince, s.previousSince = st.LiveSince, st.PreviousSince
	s.untold = st.Untold
	maps.Copy(s.scale, st.Scale)
	for _, name := range st.Paused {
		s.paused[name] = true
	}
	s.installHook()
	return s.clearTorn()
}

func (s *Supervisor) adoptGenerations(st *state) error {
	for i := range st.Generations {
		if err := s.adoptGeneration(&st.Generations[i]); err != nil {
			return err
		}
	}
	return nil
}

// endStrangers ends what an earlier daemon's workers, of which nothing is known any more, have left.
func (s *Supervisor) endStrangers(*state) error {
	if err := s.os.sweep(s.mark(), s.knows); err != nil {
		return err
	}
	if err := s.opt.Cgroups.Sweep(s.encloses); err != nil {
		return fmt.Errorf("end what no worker of the state file has started: %w", err)
	}
	return nil
}

// endUnproved ends the generations that had not had their cutover.
func (s *Supervisor) endUnproved(*state) error {
	for _, g := range s.generations {
		if g == s.live || g.state != Booting && g.state != Staged {
			continue
		}
		if g == s.rolling {
			continue // it serves on until the live one is whole again
		}
		if g.tried {
			s.beside(func() { s.withdrawAdopted(g) })
		} else {
			g.failure = &failure{reason: "the daemon ended before its cutover"}
			s.retire(g)
		}
	}
	s.closeUnused()
	s.clearFlags()
	return s.clearOutputs()
}

// closeUnused gives up the listeners of generations of which nothing has survived: nobody would ever accept from them.
func (s *Supervisor) closeUnused() {
	if s.live == nil {
		return // the next generation may need what was handed in
	}
	for name, gate := range s.gates {
		for _, m := range gate.Members() {
			used := func(g *generation) bool { return slices.Contains(g.numbers()[name], m.Gen) }
			if m.Gen == 0 || m.Gen == gate.Live() || slices.ContainsFunc(slices.Collect(maps.Values(s.generations)), used) {
				continue
			}
			if err := gate.Close(m.Gen); err != nil {
				s.log.Warn("close a listener of an earlier daemon", zap.String("listener", name), zap.Int("generation", m.Gen), zap.Error(err))
			}
		}
	}
}

// knows tells whether a process with that tag is a worker's that was adopted.
func (s *Supervisor) knows(tag string) bool {
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w != nil && in.w.Tag() == tag {
				return true
			}
		}
	}
	return false
}

// encloses tells whether a control group is an adopted worker's.
func (s *Supervisor) encloses(dir string) bool {
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w != nil && in.w.Cgroup() == dir {
				return true
			}
		}
	}
	return false
}

// adoptGeneration rebuilds a generation around those of its workers that still run.
func (s *Supervisor) adoptGeneration(gs *generationState) error {
	s.next = max(s.next, gs.ID+1)
	g := &generation{
		id: gs.ID, plan: gs.Plan, gates: s.gates, state: gs.State, since: gs.Since, held: gs.Held && gs.State == Standby, tried: gs.Tried,
		staged: make(map[string]int), provers: make(map[string]*prover), done: make(chan struct{}),
	}
	for i := range gs.Workers {
		ws := &gs.Workers[i]
		w, err := s.adoptWorker(g.id, ws)
		if err != nil && !errors.Is(err, worker.ErrGone) {
			return fmt.Errorf("adopt worker %s.%d (pid %d): %w", ws.Process, ws.Instance, ws.PID, err)
		}
		p := g.process(ws.Process)
		if err != nil || p == nil || gs.Private {
			if err := s.os.end(*ws); err != nil {
				return fmt.Errorf("end what is left of worker %s.%d (pid %d): %w", ws.Process, ws.Instance, ws.PID, err)
			}
			w = nil
		}
		if p != nil && !gs.Private {
			s.adoptInstance(g, p, ws, w)
		}
		s.dropInherited(outputName(g.id, ws.Process, ws.Instance)) // it has kept the pipe alive until it was opened by its path
	}
	if gs.Private || !slices.ContainsFunc(g.instances, func(in *instance) bool { return in.w != nil }) && gs.State != Live && !g.held {
		return nil // nothing of it runs
	}
	s.generations[g.id] = g
	return nil
}

// adoptWorker takes over one worker. The reason of one that has ended meanwhile says how, where that is known.
func (s *Supervisor) adoptWorker(gen int, ws *workerState) (process, error) {
	pidfd := s.takeInherited(workerName(gen, ws.Process, ws.Instance))
	if ws.PID == 0 {
		if pidfd >= 0 {
			_ = unix.Close(pidfd) // it was for reading only
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
		_ = unix.Close(fd) // it was for reading only
	}
}

func (g *generation) process(name string) *Process { return g.plan.process(name) }

// adoptInstance puts an instance where it was. w is nil when its worker is gone.
func (s *Supervisor) adoptInstance(g *generation, p *Process, ws *workerState, w process) {
	in := &instance{
		gen: g, proc: p, index: ws.Instance, state: InstanceExited, since: ws.Since, restarts: ws.Restarts, reason: ws.Reason,
		tail: worker.NewTail(tailLines), own: maps.Clone(ws.Own), flag: flag{path: ws.Flag}, hooked: ws.Hooked,
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
		// Whether it has had its stop signal is not known; a second one changes nothing (measured for each preset).
		in.state = InstanceStopping
		if left := in.patience() - time.Since(ws.Since); left > 0 && g.state == Draining {
			s.linger(in, left, lookEvery) // when the listeners are adopted too
			return
		}
		s.sendStop(in)
		s.arm(in, max(0, in.patience()+p.Drain-time.Since(ws.Since)), drainElapsed)
	case ws.State == InstanceReady:
		in.state, in.wanted, in.notified, in.healthy = InstanceReady, true, true, true
	default:
		in.state, in.wanted = InstanceStarting, true
	}
}

// awaitReady has the adopted workers that were starting prove themselves; they need their listeners for that.
func (s *Supervisor) awaitReady(g *generation) {
	for _, in := range g.instances {
		if in.state == InstanceStarting && in.w != nil {
			s.becomeReady(in)
		}
	}
}

// adoptListeners gives each gate back its listeners, in the order in which the kernel has them: from what was handed over
// by name, else from the workers that hold them.
func (s *Supervisor) adoptListeners(st *state) error {
	type listener struct {
		name   string
		number int
	}
	kept := make(map[listener]bool)
	for name, members := range st.Listeners {
		gate := s.gates[name]
		if gate == nil {
			continue
		}
		found := make([]foundMember, len(members))
		for i, m := range members {
			fd, ok := s.findListener(name, m)
			found[i] = foundMember{memberState: m, fd: fd, there: ok}
		}
		if places := missing(found); places > 1 && gate.Kind() == kindSteer {
			s.log.Warn("the places of the listeners that are left are not known", zap.String("listener", name), zap.Int("lost", places))
			for _, m := range found {
				if m.there {
					_ = unix.Close(m.fd) // the workers that have it serve on
				}
			}
			continue
		}
		for _, m := range stillThere(found) {
			if err := gate.Adopt(m.Gen, m.fd); err != nil {
				s.log.Error("adopt listener", zap.String("listener", name), zap.Int("generation", m.Gen), zap.Error(err))
				continue
			}
			kept[listener{name, m.Gen}] = true
			for _, g := range s.generations {
				if m.Gen != 0 && slices.Contains(m.Users, g.id) && !slices.Contains(g.numbers()[name], m.Gen) {
					g.staged[name] = m.Gen
				}
			}
		}
	}
	for _, g := range s.generations {
		for _, in := range g.instances {
			maps.DeleteFunc(in.own, func(name string, n int) bool { return !kept[listener{name, n}] })
		}
	}
	return nil
}

// foundMember is a listener of an earlier daemon with the descriptor that was found for it. Each has one of its own, also
// where the generations share one listener.
type foundMember struct {
	memberState
	fd    int
	there bool
}

// missing is how many places of a group are lost. After the loss of one it is known who has come into its place; in which order a
// killed daemon loses several is the kernel's affair.
func missing(list []foundMember) (n int) {
	for _, m := range list {
		if !m.there {
			n++
		}
	}
	return n
}

// stillThere is the order of a group after the members that nobody holds any more have left it: the kernel moves the last
// one into the place of one that leaves (reuseport_detach_sock).
func stillThere(list []foundMember) []foundMember {
	for i := 0; i < len(list); {
		if list[i].there {
			i++
			continue
		}
		list[i] = list[len(list)-1]
		list = list[:len(list)-1]
	}
	return list
}

// findListener finds a descriptor of a listener that an earlier daemon bound.
func (s *Supervisor) findListener(name string, m memberState) (int, bool) {
	if fd := s.takeInherited(listenerName(name, m)); fd >= 0 {
		return fd, true
	}
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w == nil || !slices.Contains(in.proc.Listen, name) {
				continue
			}
			if fd, err := in.w.Socket(m.Inode); err == nil {
				return fd, true
			}
		}
	}
	return -1, false
}

// adoptLive makes the generation live again that the state file says is live, whatever the gates said when the last daemon
// ended: the file is what decides (DESIGN 6).
func (s *Supervisor) adoptLive(st *state) error {
	g := s.generations[st.Live]
	if g == nil {
		return nil
	}
	half := s.halfRolled(st)
	serves := slices.ContainsFunc(g.instances, func(in *instance) bool { return in.w != nil && len(in.proc.Listen) > 0 })
	if half == nil && len(g.numbers()) == 0 && !serves && g.hasListeners() {
		// Neither listeners nor workers have survived: there is nothing to go on with.
		s.retire(g)
		if g = s.twin(g); g == nil {
			return nil
		}
	}
	if err := s.turnGates(g, nil); err != nil {
		return fmt.Errorf("generation %d: %w", g.id, err)
	}
	g.state = Live
	s.live = g
	s.interrupted = *st
	s.rolling = half
	s.aim()
	for _, p := range g.plan.Processes {
		for _, name := range p.Listen {
			if half == nil && len(g.numbers()[name]) == 0 && g.gates[name] != nil {
				s.log.Warn("the listener is held by the workers only; superctl restart "+p.Name+" gives the daemon a new one",
					zap.String("listener", name), zap.Int("generation", g.id))
			}
		}
	}
	return nil
}

// twin finds another generation of the same release that serves: the one before a hold or a restart, which was not stopped yet.
func (s *Supervisor) twin(lost *generation) *generation {
	for _, g := range s.generations {
		if g.state == Standby && g.plan.Release.Path == lost.plan.Release.Path && len(g.numbers()) > 0 &&
			slices.ContainsFunc(g.instances, func(in *instance) bool { return in.w != nil && len(in.proc.Listen) > 0 }) {
			return g
		}
	}
	return nil
}

func (g *generation) hasListeners() bool {
	return slices.ContainsFunc(g.plan.Processes, func(p Process) bool { return len(p.Listen) > 0 })
}

// clearTorn removes the files that a daemon was writing when it was killed.
func (s *Supervisor) clearTorn() error {
	left, err := filepath.Glob(filepath.Join(s.opt.State, ".*.[jt]*")) // .state.json123, .config.toml123
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove a file that was not written to its end: %w", err)
		}
	}
	return nil
}

// clearOutputs removes the pipes that no worker writes to any more.
func (s *Supervisor) clearOutputs() error {
	used := make(map[string]bool)
	for _, g := range s.generations {
		for _, in := range g.instances {
			used[in.outPath] = true
		}
	}
	left, err := filepath.Glob(filepath.Join(s.opt.State, "log", "g*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if used[path] {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove old output pipe: %w", err)
		}
	}
	return nil
}

var errRevertInterrupted = errors.New("its revert was interrupted by the end of the daemon")

// performAdoption goes on with a live generation that was adopted, and finishes or undoes the change that the end of the
// last daemon has interrupted.
func (c *change) performAdoption() error {
	was, target := c.s.interrupted.Change, c.s.interrupted.Target
	half := c.s.rolling
	_ = c.s.do(func() {
		c.to, c.from, c.plan = c.s.live, nil, c.s.live.plan
		c.release, c.committed = c.plan.Release, true
		for _, g := range c.s.generations {
			if g.state == Standby {
				c.from = g
			}
			c.s.awaitReady(g)
		}
		c.kind = Switch // how a generation that is still warm came about
		if c.from != nil {
			if r := &c.from.plan.Release; c.was.release == nil || r.Path != c.was.release.Path {
				c.was.liveSince = c.was.previousSince // of what is still warm
			}
			c.was.release = &c.from.plan.Release
			if was != nil && was.Kind != string(start) {
				c.kind = Kind(was.Kind)
			}
		}
		for _, in := range c.to.instances {
			if half != nil {
				break // they take turns with those that serve in their place
			}
			if c.to.laned(in.proc) && in.w == nil {
				if err := c.s.open(in); err != nil {
					c.s.log.Error("open listener", append(c.s.fields(in), zap.Error(err))...)
				}
			}
			if (len(in.proc.Listen) > 0 || c.kind == Restart) && !c.s.paused[in.proc.Name] {
				c.s.want(in)
			}
		}
	})
	if err := c.step(stepAdopt, c.adopted); err != nil {
		return err
	}
	if half != nil {
		if err := c.finishHalf(half); err != nil {
			return err
		}
	}
	if err := c.fit(c.to); err != nil {
		return err
	}
	if was != nil && was.Step == stepRevert && c.from != nil {
		if target != c.to.id { // the gates had turned back
			return c.finishRevert()
		}
		return c.revert(errRevertInterrupted)
	}
	if err := c.resume(was); err != nil {
		if c.from == nil || errors.Is(err, ErrStopping) {
			return err
		}
		return c.revert(err)
	}
	if err := c.step(stepRetire, c.retire); err != nil {
		return err
	}
	if owesAfter(was) && target == c.to.id {
		c.afterHooks()
	}
	return nil
}

// finishRevert does what is left of a revert whose gates an earlier daemon had turned back.
func (c *change) finishRevert() error {
	_ = c.s.do(func() { c.from.takenBack = true })
	if err := c.step(stepRevert, func(context.Context) (string, error) { return c.goBack(c.from, c.to) }); err != nil {
		return err
	}
	c.plan = c.from.plan
	c.lateHooks(stepOnRevert, c.plan.Hooks.OnRevert, Reverted, errRevertInterrupted)
	return nil
}

func (c *change) adopted(context.Context) (string, error) {
	n := 0
	err := c.s.do(func() {
		for _, in := range c.to.instances {
			if in.w != nil {
				n++
			}
		}
	})
	return fmt.Sprintf("%d workers of generation %d serve on", n, c.to.id), err
}

// resume does what an interrupted change had still to do after its cutover.
func (c *change) resume(was *ChangeStatus) error {
	after := []string{stepCutover, stepFollow, stepSettle, stepProbation}
	if c.from != nil && c.from.held {
		after = append(after, stepProve)
	}
	if was == nil || !slices.Contains(after, was.Step) {
		if c.background(c.to) {
			return c.step(stepFollow, c.startBackground)
		}
		return nil
	}
	return c.follow()
}

func inodeOf(fd int) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0
	}
	return st.Ino
}
