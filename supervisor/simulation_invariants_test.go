package supervisor

import (
	"slices"
	"strings"
	"time"
)

// The invariants. Each is checked where the world changes, or after each turn of the owner.

// simLimit is longer than any change can take: its own limits are far below.
const simLimit = 6 * time.Minute

// checkStart is called when a worker starts.
func (m *sim) checkStart(p *simProc) {
	for _, other := range m.procs {
		if other == p || other.spec.Process != p.spec.Process {
			continue
		}
		switch {
		case p.spec.Process == "beat":
			m.violate("two single processes run: %s beside %s", p, other)
		case other.spec.Generation == p.spec.Generation && other.spec.Instance == p.spec.Instance &&
			(!other.ended || other.left):
			m.violate("%s runs twice: also as pid %d", p, other.pid)
		}
	}
	if was := m.genPlans[p.spec.Generation]; was != "" && was != p.plan() {
		m.violate("%s is started from the plan %s; its generation is of the plan %s", p, p.plan(), was)
	}
	m.genPlans[p.spec.Generation] = p.plan()
}

// checkStop is called when a worker gets its stop signal.
func (m *sim) checkStop(p *simProc) {
	if p.signals > 1 {
		m.violate("%s is told to stop twice", p)
	}
	if m.off {
		return
	}
	for _, s := range p.sockets {
		a := s.address
		if a.private || a.kind == kindShared || !slices.Contains(a.target, s) && a.canary != s || p.wedged || s.shut {
			continue
		}
		if !slices.ContainsFunc(s.holders, func(o *simProc) bool { return o != p && o.accepts() }) &&
			m.proves(a, p) != nil {
			m.violate("%s is told to stop while connections are sent to it", p)
		}
	}
}

// checkKill is called when a worker that runs is killed: one that serves is told to stop before.
func (m *sim) checkKill(p *simProc) {
	if m.off || !p.told.IsZero() || p.wedged || !p.up || m.disk.failed.After(p.born) || p.how != (simRelease{Name: p.how.Name, Boot: p.how.Boot, Leaves: p.how.Leaves}) ||
		time.Since(p.born) < 2*time.Second || slices.ContainsFunc(p.sockets, func(s *simSocket) bool { return s.hung }) {
		return
	}
	m.violate("%s is killed, and was not told to stop", p)
}

// proves is a proved worker that accepts on an address, other than one.
func (m *sim) proves(a *simAddress, other *simProc) *simProc {
	for _, p := range m.procs {
		if p == other || !p.accepts() {
			continue
		}
		for _, s := range p.sockets {
			if s.address == a && !s.shut &&
				(p.proved || s.number>>laneBits == 0 && (s.proved || m.provedPlans[p.plan()])) {
				return p
			}
		}
	}
	return nil
}

// failedLong reports whether the state file has been behind for a minute.
func (m *sim) failedLong() bool { return time.Since(m.disk.began) > time.Minute }

// expectFile holds, some time after the disk can be written again, that the daemon has tried that.
func (m *sim) expectFile() {
	by := m.disk.by
	if !m.disk.behind() || by.dead {
		return
	}
	time.AfterFunc(3*lastRetry, func() {
		m.locked(func() {
			if m.disk.behind() && m.disk.fails == nil && !by.dead && by == m.now && !by.s.leaving {
				m.violate("the state file could not be written, and is not tried again")
			}
		})
	})
}

// settled reports whether a worker was proved long enough ago for the daemon to have acted on it.
func (m *sim) settled(p *simProc) bool {
	return p != nil && (p.provedAt.IsZero() || time.Since(p.provedAt) > time.Second)
}

// checkRoute is called when a connection is on its way to a socket.
func (m *sim) checkRoute(c *simConn) {
	s := c.socket
	a := s.address
	m.checkDeserted(c)
	if a.kind != kindShared {
		m.checkReverted(c)
	}
	if a.kind == kindShared || a.canary == s || s.proved && s.number>>laneBits == 0 || m.startsAgain {
		return
	}
	for _, p := range s.holders {
		switch {
		case p.proved || s.number>>laneBits == 0 && m.provedPlans[p.plan()]:
			return
		case !p.ended && m.settled(m.proves(a, p)) && m.proves(a, p).spec.Process != pageProcess: // that has checkGate
			m.violate("a connection reaches %s, which is not proved, and %s serves", p, m.proves(a, p))
			return
		}
	}
}

// simKnown is how long after something a daemon knows of it and has acted on it, also one that has just
// started.
const simKnown = 100 * time.Millisecond

// checkDeserted holds that no connection is sent to the listener of a worker that has ended, or that was
// told to end, while a neighbour of it serves.
func (m *sim) checkDeserted(c *simConn) {
	s := c.socket
	if s.number>>laneBits == 0 || s.address.kind != kindSteer || time.Since(s.deserted) < simKnown || s.deserted.IsZero() ||
		time.Since(m.gateRefused) < time.Second || m.now.dead || time.Since(m.now.began) < simKnown {
		return
	}
	if slices.ContainsFunc(s.holders, func(p *simProc) bool { return !p.ended && p.told.IsZero() }) {
		return
	}
	for _, p := range m.procs {
		if p.accepts() && p.proved && time.Since(p.provedAt) > simKnown && p.spec.Generation == s.number>>laneBits &&
			slices.ContainsFunc(p.sockets, func(o *simSocket) bool { return o.address == s.address && !o.shut }) {
			m.violate("a connection is sent to listener %d of %s, whose worker has ended or is about to, and %s serves",
				s.number, s.address.address, p)
			return
		}
	}
}

// lost is called when a connection comes to nothing before a worker has accepted it.
func (m *sim) lost(c *simConn, why string) {
	a := m.public()[0]
	if c.socket != nil {
		a = c.socket.address
	}
	if m.off || m.powerOff || c.socket != nil && (c.socket.shut || c.socket.hung) || a.private {
		return
	}
	if c.socket == nil && (m.now.dead || time.Since(m.now.began) < simKnown || m.waitsForWord || m.lacksPage) {
		return // no daemon runs that could send it elsewhere, or it must not
	}
	if m.now != nil && m.now.dead && !m.sc.Site.Store && c.socket != nil &&
		(time.Since(c.socket.deserted) < time.Second || len(c.socket.holders) == 0) {
		return // its worker has just ended, or it is held, so that the daemon alone had the queue, and no store keeps it
	}
	file := m.fileTakes() // the gate turns when the file says so
	if p := m.proves(a, nil); p != nil && (c.socket != nil || file == 0 || time.Since(p.provedAt) > file) {
		m.violate("connection %d to %s is lost: %s; and %s serves", c.id, a.address, why, p)
	}
}

// cut is called when a worker ends with a connection.
func (m *sim) cut(c *simConn, p *simProc, why string) {
	if m.off || m.powerOff || p.wedged || m.unknown(p) ||
		!strings.Contains(why, "superctl") && !strings.Contains(why, "daemon") {
		return
	}
	if !p.told.IsZero() && time.Since(p.told) >= min(simDrain, deathBed)-time.Millisecond || p.how.Health != "" {
		return
	}
	m.violate("connection %d is cut: %s was %s, and its time to drain was not over", c.id, p, why)
}

// unknown reports whether a worker was started while the state file could not be written, so that no
// later daemon can know it.
func (m *sim) unknown(p *simProc) bool {
	st, ok := m.savedState()
	return ok && p.spec.Generation >= st.Next && (m.disk.behind() || m.disk.failed.After(p.born))
}

// expect notes, when a daemon starts, what may be live when it has recovered.
func (m *sim) expect(*simDaemon) {
	st, ok := m.savedState()
	if !ok || st.Release == nil {
		return
	}
	for id := range m.genPlans {
		if id >= st.Next { // the state file could not be written: the next daemon does not know it
			delete(m.genPlans, id)
		}
	}
	m.ledger.before = []string{st.Release.Name}
	if st.Change != nil && st.Change.Step == stepReady {
		return // a change that waits has changed nothing
	}
	if st.Change != nil && st.Previous != nil {
		m.ledger.before = append(m.ledger.before, st.Previous.Name)
	}
	for _, g := range st.Generations {
		if g.ID == st.From {
			m.ledger.before = append(m.ledger.before, g.Plan.Release.Name)
		}
	}
}

// checkTurn is called by the owner at the end of each turn.
func (m *sim) checkTurn(d *simDaemon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := d.s
	if d.dead || len(m.wrong) > 0 || m.off {
		return
	}
	if s.live != nil && !s.live.unroutable && !s.handover.handedOver {
		for _, g := range d.gates {
			m.checkGate(d, g)
		}
	}
	m.commands.note(s)
	m.checkFollows(d)
	// What is live has ended while no daemon ran. Its release is started again, and its users wait for
	// it: the release before, which may still be warm, is not for them.
	m.startsAgain = s.change != nil && s.change.req.Kind == start && s.change.from == nil
	m.waitsForWord = s.live == nil && s.change != nil && s.change.stepName == stepReady
	// The next try is a moment away; at rest there is a page (checkPage).
	m.lacksPage = s.maintenance.on != nil && s.maintenance.page == nil && s.maintenance.waiting
	if s.live == nil && s.change != nil && s.change.req.Kind != start {
		m.ledger.before = nil // an operator makes another release live
	}
	if s.live != nil && s.release != nil && s.live.plan.Release.Name != s.release.Name {
		m.violate("%s is said to be live, and generation %d of %s is", s.release.Name, s.live.id, s.live.plan.Release.Name)
	}
	m.noteReverted(s)
	m.noteWork(s)
	m.checkDivision(s)
	m.checkWayBack(s)
	m.checkPrepared(s)
	m.checkHeard(s)
	if s.live != nil && s.change == nil && m.ledger.before != nil && m.now == d {
		if name := s.live.plan.Release.Name; !slices.Contains(m.ledger.before, name) {
			m.violate("%s is live after the daemon was started again, and not one of %v", name, m.ledger.before)
		}
		m.ledger.before = nil
	}
}

// checkGate holds where connections go against what is live.
func (m *sim) checkGate(d *simDaemon, g *simGate) {
	a, s := g.a, d.s
	if a.kind == kindShared || frontOf(s.live.gates[a.name]) == nil || frontOf(s.live.gates[a.name]).Gate != Gate(g) {
		return
	}
	allowed := numbersOf(s.live.listeners()[a.name])
	if s.rolling != nil {
		allowed = append(allowed, numbersOf(s.rolling.listeners()[a.name])...)
	}
	if d := s.listeners.divided; d != nil { // the guard compares
		allowed = append(allowed, numbersOf(d.before.listeners()[a.name])...)
	}
	if mt := &s.maintenance; mt.on != nil {
		if mt.page == nil || mt.lost {
			return // it is being started again
		}
		allowed = numbersOf(mt.page.listeners()[a.name])
	}
	for l, r := range s.listeners.remnants { // its gate cannot be set
		if f := frontOf(l.gate); f != nil && f.Gate == Gate(g) {
			allowed = append(allowed, numbersOf(r.of.listeners()[a.name])...)
		}
	}
	var to []int
	for number, fd := range ordered(g.mine) {
		if socket, ok := d.fds[fd].(*simSocket); ok && slices.Contains(a.target, socket) {
			to = append(to, number)
			if !slices.Contains(allowed, number) {
				m.violate(
					"connections to %s reach %d, and generation %d is live with %v", a.address, number, s.live.id,
					allowed,
				)
			}
		}
	}
	if len(to) == 0 && s.rolling == nil && len(s.live.listeners()[a.name]) > 0 {
		m.violate("connections to %s reach no worker, and generation %d is live", a.address, s.live.id)
	}
	if len(s.listeners.remnants) > 0 {
		m.compared.kept++
		return // a gate cannot be set, and is tried again
	}
	if a.canary != nil && s.listeners.divided == nil && !slices.ContainsFunc(allGenerations(s), func(g *generation) bool { return g.canary != nil }) {
		m.violate("%s has a canary, and no generation is one", a.address)
	}
}

func allGenerations(s *Supervisor) (list []*generation) {
	for _, g := range ordered(s.generations) {
		list = append(list, g)
	}
	return list
}

// checkWayBack holds that until the retirement there is a generation to go back to, and that it can
// serve.
func (m *sim) checkWayBack(s *Supervisor) {
	c := s.change
	if c == nil || !c.committed || c.from == nil || c.from.held || s.stopping || c.from.reverted ||
		c.to != nil && c.to.reverted {
		return
	}
	adopted := c.req.Kind == start // of what an earlier daemon kept warm only that of a probation matters
	if !slices.Contains([]string{stepCutover, stepFollow, stepSettle, stepProbation}, c.stepName) ||
		adopted && c.stepName != stepProbation || m.sc.Site.Gate == kindShared {
		return
	}
	if s.generations[c.from.id] == nil {
		m.violate("generation %d is gone, and %s may still go back to it", c.from.id, c.stepName)
	}
	for _, in := range c.from.instances {
		if (len(in.proc.Listen) > 0 || in.proc.Strategy == Overlap && !adopted && !s.demand.paused[in.proc.Name]) &&
			slices.Contains(
				[]InstanceState{InstanceStopping, InstanceKilling, InstanceExited, InstanceFailed}, in.state,
			) {
			m.violate("%s of generation %d is %s during %s: there is no way back", in, c.from.id, in.state, c.stepName)
		}
	}
}

// checkPrepared holds that a prepared change leaves what is live alone until it has its word.
func (m *sim) checkPrepared(s *Supervisor) {
	c := s.change
	if c == nil || c.req.Prepare == 0 || c.word.given {
		return
	}
	switch {
	case c.committed:
		m.violate("%s to %s cut over without its word", c.req.Kind, c.release.Name)
	case s.live != c.from:
		m.violate("%s to %s has altered what is live, and waits for its word", c.req.Kind, c.release.Name)
	case c.word.change != "" && time.Since(c.began) > simLimit:
		m.violate("%s to %s waits for its word for ever", c.req.Kind, c.release.Name)
	}
}

// checkStatus holds what status says against what users get.
func (m *sim) checkStatus(d *simDaemon, st Status) {
	if d.dead || d != m.now || m.off {
		m.downSince = time.Time{}
		return
	}
	if m.sc.Site.Listeners == 0 {
		m.checkWorking(st)
		return
	}
	down := ""
	for _, a := range m.public() {
		serves := slices.ContainsFunc(m.procs, func(p *simProc) bool {
			return !p.ended && p.up &&
				slices.ContainsFunc(p.sockets, func(s *simSocket) bool {
					return slices.Contains(a.target, s) || s == a.shared
				})
		})
		if !serves {
			down = a.address
		}
	}
	switch {
	case down == "":
		m.downSince = time.Time{}
	case m.downSince.IsZero():
		m.downSince = time.Now()
	case time.Since(m.downSince) > 3*time.Second && st.Health == HealthOK:
		m.violate("status says ok, and nothing has served %s for %s", down, time.Since(m.downSince))
	}
}
