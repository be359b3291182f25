package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

func (rc *recovery) adoptGenerations(st *state) error {
	found := rc.findWorkers(st)
	st.finishStart(found)
	for i := range st.Generations {
		if err := rc.adoptGeneration(st, &st.Generations[i], found); err != nil {
			return err
		}
	}
	return nil
}

// finishStart makes the generation live that an interrupted start went to, if workers of it run.
// Nothing else can serve at a start, so its cutover needs no proof, and the daemon may have ended
// before the file had it.
func (st *state) finishStart(found []worker.Found) {
	if st.Live != 0 || st.Change == nil || st.Change.Kind != string(start) {
		return
	}
	for i := range st.Generations {
		gs := &st.Generations[i]
		if gs.ID == st.Target && gs.State == Booting && gs.runs(found) {
			gs.State, st.Live = Live, gs.ID
		}
	}
}

// runs reports whether a generation had workers when the last daemon ended.
func (gs *generationState) runs(found []worker.Found) bool {
	return slices.ContainsFunc(gs.Workers, func(ws workerState) bool { return ws.PID != 0 }) ||
		slices.ContainsFunc(found, func(f worker.Found) bool { return f.Generation == gs.ID })
}

// adoptGeneration rebuilds a generation around those of its workers that still run.
func (rc *recovery) adoptGeneration(st *state, gs *generationState, found []worker.Found) error {
	rc.owner.next = max(rc.owner.next, gs.ID+1)
	rc.owner.memory.adoptValues(gs.ID, &gs.Plan)
	g := &generation{
		owner: rc.owner, id: gs.ID, plan: gs.Plan, gates: rc.owner.listeners.gatesOf(st, gs),
		state: gs.State, since: gs.Since, held: gs.Held && gs.State == Standby, tried: gs.Tried,
		staged: make(map[string]listener), proofs: make(map[string]*proof), done: make(chan struct{}),
	}
	gs.Workers = append(gs.Workers, gs.unrecorded(found)...)
	for i := range gs.Workers {
		ws := &gs.Workers[i]
		if err := rc.adoptPlace(st, g, gs, ws, found); err != nil {
			return fmt.Errorf("adopt worker %s.%d (pid %d): %w", ws.Process, ws.Instance, ws.PID, err)
		}
		// it has kept the pipe alive until it was opened by its path
		rc.dropInherited(outputName(g.id, ws.Process, ws.Instance))
	}
	if gs.Private || !g.runs() && gs.State != Live && !g.held && !st.isWayBack(g) && !st.shows(g) {
		return nil
	}
	rc.owner.generations[g.id] = g
	return nil
}

// adoptPlace rebuilds the instance of a worker, with the worker if it still runs. A worker of a
// private generation, and one whose process is not in the plan, is ended.
func (rc *recovery) adoptPlace(st *state, g *generation, gs *generationState, ws *workerState, found []worker.Found) error {
	w, err := rc.adoptWorker(g.id, ws)
	if err != nil && !errors.Is(err, worker.ErrGone) {
		return err
	}
	p := g.process(ws.Process)
	if gs.Private || p == nil {
		rc.endWorker(ws)
		return nil
	}
	if err != nil {
		rc.endWorker(ws)
		w = rc.adoptFound(st, g, ws, found)
	}
	rc.adoptInstance(g, p, ws, w)
	return nil
}

// endWorker ends the processes of a worker that is not adopted. One in a call of the kernel that
// does not return cannot be ended.
func (rc *recovery) endWorker(ws *workerState) {
	if err := rc.os.end(*ws); err != nil {
		rc.log.Error("end the remaining processes of a worker", zap.String("process", ws.Process),
			zap.Int("instance", ws.Instance), zap.Int("pid", ws.PID), zap.Error(err))
	}
}

// isWayBack reports whether a generation is the one that an interrupted change came from, and may go back
// to. Its workers may all have ended while no daemon ran. Or they had to stop: at the cutover, because all
// generations accept from one queue, or in the place of their successors, which an app without a listener
// has after its cutover.
func (st *state) isWayBack(g *generation) bool {
	return st.Change != nil && st.From == g.id && g.state == Standby &&
		(mayGoBack(st.Change) || len(g.plan.listeners()) == 0 ||
			slices.ContainsFunc(g.plan.Processes, func(p Process) bool { return g.sharedGate(&p) }))
}

// runs reports whether a generation has a worker.
func (g *generation) runs() bool {
	return slices.ContainsFunc(g.instances, func(in *instance) bool { return in.w != nil })
}

// adoptWorker takes over one worker. The reason of one that has ended meanwhile says how, where
// that is known.
func (rc *recovery) adoptWorker(gen int, ws *workerState) (process, error) {
	pidfd := rc.takeInherited(workerName(gen, ws.Process, ws.Instance))
	if ws.PID == 0 {
		if pidfd >= 0 {
			rc.os.close(pidfd)
		}
		return nil, worker.ErrGone
	}
	w, err := rc.os.adopt(*ws, pidfd)
	if errors.Is(err, worker.ErrGone) {
		ws.Reason = "ended while no daemon was running"
		var gone *worker.GoneError
		if errors.As(err, &gone) {
			ws.Reason += ": " + gone.Exit.String()
		}
	}
	return w, err
}

// takeInherited is the descriptor that an earlier daemon has handed over under that name, or -1.
func (co *core) takeInherited(name string) int {
	if co.opt.Inherited != nil {
		if fd, ok := co.opt.Inherited(name); ok {
			return fd
		}
	}
	return -1
}

func (co *core) dropInherited(name string) {
	if fd := co.takeInherited(name); fd >= 0 {
		co.os.close(fd)
	}
}

func (g *generation) process(name string) *Process { return g.plan.process(name) }

// adoptInstance puts an instance where it was. w is nil when its worker is gone.
func (rc *recovery) adoptInstance(g *generation, p *Process, ws *workerState, w process) {
	in := &instance{
		owner: rc.owner, gen: g, proc: p, index: ws.Instance, state: InstanceExited, since: ws.Since,
		restarts: ws.Restarts,
		reason:   ws.Reason,
		tail:     worker.NewTail(tailLines), own: ownListeners(g, ws), flag: flag{path: ws.Flag}, hooked: ws.Hooked,
		place:   countingPlace(ws.Flag),
		scratch: cmp.Or(ws.Scratch, g.id),
	}
	g.instances = append(g.instances, in)
	in.pid.Store(int64(ws.PID))
	if ws.Output != "" {
		if out, err := rc.os.output(ws.Output, p.User); err != nil {
			rc.log.Error("open the output of an adopted worker", append(in.fields(), zap.Error(err))...)
		} else {
			in.outPath = ws.Output
			in.readOutput(out)
		}
	}
	if w == nil {
		if ws.PID != 0 {
			g.noteDeath(in, ws)
			rc.log.Warn("worker ended", append(in.fields(), zap.String("reason", ws.Reason))...)
		}
		in.release() // once its last words are read
		return
	}
	rc.attach(in, w, ws)
}

// attach gives an adopted instance its worker, in the state in which the last daemon has left it.
func (rc *recovery) attach(in *instance, w process, ws *workerState) {
	in.w, in.born, in.turn = w, ws.Since, 1
	in.watch(in.turn, w)
	rc.log.Info("worker adopted", in.fields()...)
	if err := rc.opt.Cgroups.Limit(w.Cgroup(), in.proc.limits()); err != nil {
		rc.log.Error("control group", append(in.fields(), zap.Error(err))...)
	}
	switch {
	case in.gen.state == Draining || ws.State == InstanceStopping || ws.State == InstanceKilling:
		// Whether it has had its stop signal is not known; a second one changes nothing (measured
		// for each preset).
		in.state = InstanceStopping
		rc.finishing = append(rc.finishing, in)
	case ws.Leaving:
		in.state, in.since = InstanceStopping, time.Now()
		rc.finishing = append(rc.finishing, in)
	case ws.State == InstanceReady:
		in.state, in.wanted, in.notified, in.healthy = InstanceReady, true, true, true
	default:
		// A live worker may have said READY=1 to a daemon that died before it wrote that down, and says
		// it once.
		in.state, in.wanted, in.notified = InstanceStarting, true, ws.Notified || in.gen.state == Live
	}
}

// noteDeath counts the end of a worker that served when the last daemon ended.
func (g *generation) noteDeath(in *instance, ws *workerState) {
	if g.state == Live && ws.State == InstanceReady {
		g.deaths++
		g.lastDeath = in.String() + " " + ws.Reason
	}
}

// ownListeners are the listeners that a worker had alone. Those that do not reach this daemon are
// taken away from it once that is known.
func ownListeners(g *generation, ws *workerState) map[string]listener {
	own := make(map[string]listener)
	for name, number := range ws.Own {
		own[name] = listener{g.gates[name], number}
	}
	return own
}

// finishDraining has the adopted workers that were told to finish go on with that. Whether one has
// had its stop signal is not known; a second one changes nothing (measured for each preset).
func (rc *recovery) finishDraining(*state) error {
	for _, in := range rc.finishing {
		if in.state != InstanceStopping || in.lingers != nil {
			continue // its generation was retired meanwhile
		}
		lf, passed := in.lingerLimit(), time.Since(in.since)
		rc.owner.flags.findHook(in)
		if passed < lf.limit && in.gen.state == Draining {
			in.linger(lf, passed)
			continue
		}
		in.sendStop()
		if lf.limit == 0 { // else the earlier daemon may have died before its stop signal
			in.arm(max(0, in.proc.Drain-passed), drainElapsed)
		}
	}
	return nil
}

// awaitReady has the adopted workers that were starting prove themselves; they need their listeners
// for that.
func (g *generation) awaitReady() {
	for _, in := range g.instances {
		if in.state == InstanceStarting && in.w != nil {
			in.becomeReady()
		}
	}
}

// adoptPage has the maintenance page of an earlier daemon stay in front of the app.
func (rc *recovery) adoptPage(*state) error {
	rc.owner.maintenance.adopt()
	return nil
}

// adoptLive makes the generation live again that the state file says is live, whatever the gates
// said when the last daemon ended: the file is what decides (DESIGN 6). A gate that cannot be
// turned to it is no reason not to start: its workers serve on, and get successors with listeners
// whose places are known (see renew).
func (rc *recovery) adoptLive(st *state) error {
	g := rc.owner.generations[st.Live]
	if g == nil {
		return nil
	}
	half := rc.halfRolled(st)
	if half == nil && len(g.listeners()) == 0 && !g.hasSurvived() {
		// Neither listeners nor workers have survived: there is nothing to go on with, but for the
		// generation that an interrupted change came from.
		if g.lost = rc.servesStill(st); !g.lost {
			g.retire()
			if g = rc.sibling(g); g == nil {
				rc.startBefore(st)
				return nil
			}
		}
	}
	g.state = Live
	rc.owner.live = g
	rc.owner.journal.interrupted = *st
	rc.owner.rolling = half
	rc.directGates(g)
	rc.owner.listeners.aim()
	return nil
}

// directGates turns the gates to an adopted generation, as far as this daemon has its listeners and
// knows their places.
func (rc *recovery) directGates(g *generation) {
	for name := range ordered(g.listeners()) {
		serving := g.serving(name)
		if err := g.gates[name].Spread(numbersOf(serving)); err != nil {
			rc.log.Error(
				"the listener of an earlier daemon cannot be directed", zap.String("listener", name),
				zap.Int("generation", g.id), zap.Error(err),
			)
			g.unroutable = true
			rc.owner.listeners.suspectParts(name, g)
			continue
		}
		rc.owner.listeners.aimed[name] = serving
	}
	if name := g.lacks(); name != "" && rc.owner.rolling == nil {
		rc.log.Warn(
			"the listener is held by the workers only", zap.String("listener", name), zap.Int("generation", g.id),
		)
		g.unroutable = true
	}
}

// servesStill reports whether the generation that an interrupted change came from serves.
func (rc *recovery) servesStill(st *state) bool {
	from := rc.owner.generations[st.From]
	return st.Change != nil && from != nil && from.state == Standby && !from.held && from.lacks() == "" &&
		from.provenBy(func(p *Process) bool { return len(p.Listen) > 0 })
}

// startBefore has the release started that an interrupted change came from, when the one that it
// went to was on probation, or already being reverted, and nothing of either has survived.
func (rc *recovery) startBefore(st *state) {
	if st.Release == nil || !mayGoBack(st.Change) {
		return
	}
	i := slices.IndexFunc(st.Generations, func(gs generationState) bool { return gs.ID == st.From })
	if i < 0 || st.Generations[i].Plan.Release.Path == st.Release.Path {
		return
	}
	before := st.Generations[i].Plan.Release
	rc.log.Warn("the release on probation is lost, and the one before it is started",
		zap.String("release", st.Release.Name), zap.String("before", before.Name))
	rc.owner.release, rc.owner.liveSince = &before, st.PreviousSince
	if rc.owner.previous != nil && rc.owner.previous.Path == before.Path {
		rc.owner.previous, rc.owner.previousSince = nil, nil
	}
	if owed := rc.owner.owed; owed != nil && owed.Result != Reverted {
		owed.Result, owed.Error = Reverted, "its workers ended while no daemon was running"
	}
}

// sibling finds another generation of the same release that serves: the one before a hold or a
// restart, which was not stopped yet.
func (rc *recovery) sibling(lost *generation) *generation {
	for _, g := range rc.owner.generations {
		if g.state == Standby && g.plan.Release.Path == lost.plan.Release.Path && len(g.listeners()) > 0 &&
			slices.ContainsFunc(g.instances, func(in *instance) bool {
				return in.w != nil && len(in.proc.Listen) > 0
			}) {
			return g
		}
	}
	return nil
}

// hasSurvived reports whether a worker of an adopted generation runs that has listeners, or any worker if
// the app has none.
func (g *generation) hasSurvived() bool {
	without := len(g.plan.listeners()) == 0
	return slices.ContainsFunc(g.instances, func(in *instance) bool {
		return in.w != nil && (without || len(in.proc.Listen) > 0)
	})
}
