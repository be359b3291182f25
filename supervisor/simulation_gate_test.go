package supervisor

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// simGate is an address as one daemon has it: under which number it knows which descriptor.
type simGate struct {
	d       *simDaemon
	a       *simAddress
	mine    map[int]int              // number -> descriptor
	staged  map[*simSocket]time.Time // by this daemon
	live    int
	canary  int // the generation that has a part, by this daemon
	touched chan struct{}
	damage  Mended
}

func newSimGate(d *simDaemon, a *simAddress) *simGate {
	return &simGate{d: d, a: a, mine: make(map[int]int), staged: make(map[*simSocket]time.Time), touched: make(chan struct{}, 8)}
}

// firstGate returns a gate of the app; nil if it has none.
func (d *simDaemon) firstGate() *simGate {
	if len(d.gates) == 0 {
		return nil
	}
	return d.gates[0]
}

func (g *simGate) Name() string    { return g.a.name }
func (g *simGate) Address() string { return g.a.address }
func (g *simGate) Kind() string    { return g.a.kind }

// edge is a call of this gate; f runs if the daemon lives, with the socket of gen if there is one.
func (g *simGate) edge(what string, gen int, f func(s *simSocket) error) error {
	if !g.d.edge(fmt.Sprintf("%s %s %d", what, g.a.address, gen)) {
		return errSimDead
	}
	g.d.m.mu.Lock()
	defer g.d.m.mu.Unlock()
	return f(g.socket(gen))
}

func (g *simGate) socket(gen int) *simSocket {
	fd, ok := g.mine[gen]
	if !ok {
		return nil
	}
	s, _ := g.d.fds[fd].(*simSocket)
	return s
}

func (g *simGate) lacks(gen int) error { return fmt.Errorf("generation %d has no listener", gen) }

func (g *simGate) Stage(gen int) error {
	return g.edge("stage", gen, func(s *simSocket) error {
		switch {
		case s != nil:
			g.d.m.violate("generation %d is staged twice on %s", gen, g.a.address)
			return g.lacks(gen)
		case g.d.m.portTaken && !g.a.private:
			return fmt.Errorf("%s is in use by another program", g.a.address)
		case g.a.kind == kindShared:
			g.a.shared.refs++
			g.mine[gen] = g.d.keep(g.a.shared)
		default:
			g.mine[gen] = g.d.keep(g.d.m.bind(g.a, gen))
			g.staged[g.socket(gen)] = time.Now()
		}
		return nil
	})
}

func (g *simGate) FD(gen int) (int, error) {
	g.d.m.mu.Lock()
	defer g.d.m.mu.Unlock()
	if g.socket(gen) == nil {
		return -1, g.lacks(gen)
	}
	return g.mine[gen], nil
}

func (g *simGate) Relisten(gen int) error {
	return g.edge("relisten", gen, func(*simSocket) error { return nil })
}

func (g *simGate) Cutover(gen int) error { return g.Spread([]int{gen}) }

func (g *simGate) Spread(gens []int) error {
	return g.edge("turn", gens[0], func(*simSocket) error {
		if err := g.refusal(); err != nil {
			return err
		}
		var target []*simSocket
		for _, gen := range gens {
			s := g.socket(gen)
			if s == nil {
				return g.lacks(gen)
			}
			target = append(target, s)
		}
		for _, s := range target {
			g.checkStored(s)
		}
		g.a.target, g.live = target, gens[0]
		if slices.Contains(gens, g.canary) || g.canary == 0 {
			g.a.canary, g.a.share, g.canary = nil, 0, 0
		}
		g.d.m.logf("gate %s turns to %v", g.a.address, gens)
		return nil
	})
}

func (g *simGate) Canary(gen, share int, _ []netip.Prefix) error {
	return g.edge("canary", gen, func(s *simSocket) error {
		fails := g.d.m.canariesFail > 0 && !g.a.private
		if fails {
			g.d.m.canariesFail--
		}
		switch {
		case share == 0 && g.canary == gen:
			g.canary = 0 // and the kernel forgets it as soon as the gate is set
		case share > 0 && s == nil:
			return g.lacks(gen)
		}
		if err := g.refusal(); err != nil {
			return err
		}
		if share > 0 {
			g.checkStored(s)
		}
		if fails {
			g.d.m.logf("gate %s refuses to give %d of 10000 to %d", g.a.address, share, gen)
			return fmt.Errorf("setsockopt: %w", syscall.ENOMEM)
		}
		switch {
		case share > 0:
			g.a.canary, g.a.share, g.canary = s, share, gen
		case g.canary == 0:
			g.a.canary, g.a.share = nil, 0
		}
		g.d.m.logf("gate %s gives %d of 10000 to %d", g.a.address, share, gen)
		return nil
	})
}

// refusal is why the kernel does not set the gate; nil = it does.
func (g *simGate) refusal() error {
	if g.d.m.gatesFail == 0 || g.a.private {
		return nil
	}
	g.d.m.gatesFail--
	g.d.m.gateRefused = time.Now()
	return fmt.Errorf("setsockopt: %w", syscall.ENOMEM)
}

// checkStored holds that connections reach a new listener only when systemd has it, unless the store
// has refused it: else it would end with this daemon.
func (g *simGate) checkStored(s *simSocket) {
	m := g.d.m
	since, ours := g.staged[s]
	if !m.sc.Site.Store || !ours || g.a.private || m.storeFails || m.storeFailed.After(since) {
		return
	}
	for _, what := range m.stored {
		if what == any(s) {
			return
		}
	}
	m.violate("connections to %s are sent to listener %d, which is not in the store", g.a.address, s.number)
}

func (g *simGate) Settle(ctx context.Context, gen int) (settled Settled, err error) {
	began := time.Now()
	for {
		done := false
		if err := g.edge("settle", gen, func(s *simSocket) error {
			if s == nil {
				return g.lacks(gen)
			}
			settled.Left = len(s.queue)
			done = len(s.queue) == 0 && s.coming == 0
			return nil
		}); err != nil {
			return Settled{}, err
		}
		settled.Waited = time.Since(began)
		if done {
			return settled, nil
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return settled, nil
		}
	}
}

func (g *simGate) Close(gen int) error {
	return g.edge("close", gen, func(s *simSocket) error {
		if s == nil {
			return g.lacks(gen)
		}
		fd := g.mine[gen]
		delete(g.mine, gen)
		if g.live == gen {
			g.live = 0
		}
		g.d.m.logf("gate %s closes %d", g.a.address, gen)
		if g.canary == gen {
			g.canary = 0
		}
		if g.a.kind == kindSteer {
			g.d.m.closeSocket(s) // it is shut down, whoever else has it
		}
		g.a.forget(s)
		g.d.drop(fd)
		return nil
	})
}

func (g *simGate) Members() (list []Member) {
	g.d.m.mu.Lock()
	defer g.d.m.mu.Unlock()
	for _, gen := range slices.Sorted(maps.Keys(g.mine)) {
		list = append(list, Member{Gen: gen, FD: g.mine[gen]})
	}
	return list
}

func (g *simGate) Adopt(gen, fd int) error {
	return g.edge("adopt listener", gen, func(*simSocket) error {
		g.mine[gen] = fd
		return nil
	})
}

func (g *simGate) Locate([]int) error {
	return g.edge("locate", 0, func(*simSocket) error { return nil })
}

func (g *simGate) Verify(_ context.Context, gen int) error {
	return g.edge("verify", gen, func(s *simSocket) error {
		switch {
		case s == nil:
			return g.lacks(gen)
		case g.live == gen && g.a.kind != kindShared && !slices.Contains(g.a.target, s):
			return fmt.Errorf("clients do not reach generation %d", gen)
		}
		return nil
	})
}

func (g *simGate) Watch(ctx context.Context, changed func()) error {
	if !g.d.edge("watch " + g.a.address) {
		return nil
	}
	changed()
	for {
		select {
		case <-g.touched:
			changed()
		case <-ctx.Done():
			return nil
		}
	}
}

func (g *simGate) Mend() (m Mended) {
	g.d.m.locked(func() {
		m, g.damage = g.damage, Mended{}
	})
	return m
}

func (g *simGate) Strangers() []string { return nil }
func (g *simGate) Live() int {
	g.d.m.mu.Lock()
	defer g.d.m.mu.Unlock()
	return g.live
}

func (g *simGate) Queue(gen int) (length, limit int, err error) {
	g.d.m.mu.Lock()
	defer g.d.m.mu.Unlock()
	s := g.socket(gen)
	if s == nil {
		return 0, 0, g.lacks(gen)
	}
	return len(s.queue), 128, nil
}

func (g *simGate) Connections(gen int, pids []int) (n int, err error) {
	err = g.edge(fmt.Sprint("connections of ", pids), gen, func(*simSocket) error {
		for _, p := range g.d.m.procs {
			if slices.Contains(pids, p.pid) {
				n += p.open()
			}
		}
		return nil
	})
	return n, err
}

// Unanswered counts like Connections: a connection of the model has one request.
func (g *simGate) Unanswered(gen int, pids []int) (int, error) { return g.Connections(gen, pids) }

func (g *simGate) Private() (Gate, error) {
	var private *simGate
	err := g.edge("private", 0, func(*simSocket) error {
		g.d.m.private++
		a := &simAddress{name: g.a.name, address: fmt.Sprint("private-", g.d.m.private), kind: "private", private: true}
		private = newSimGate(g.d, a)
		return nil
	})
	return private, err
}

func (g *simGate) Dial(_ context.Context, gen int) (net.Conn, error) {
	status := -1
	if err := g.edge("probe", gen, func(s *simSocket) error {
		if s == nil {
			return g.lacks(gen)
		}
		for _, p := range s.holders {
			if p.accepts() {
				status = g.d.m.answer(p, s)
				return nil
			}
			if p.wedged && !p.ended {
				status = 0
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	switch status {
	case -1:
		return nil, syscall.ECONNREFUSED
	case 0:
		return silent(), nil
	}
	return answering(status), nil
}

// answer is what a worker says to a probe.
func (m *sim) answer(p *simProc, s *simSocket) (status int) {
	p.asked++
	status = 200
	switch p.how.Health {
	case "bad":
		status = 500
	case "silent":
		status = 0
	case "flaky":
		if p.asked > 1 {
			status = 500
		}
	case "late":
		if time.Since(p.born) > 4*time.Second && !m.healed {
			status = 500
		}
	}
	if status != 200 {
		p.healthy, s.healthy = 0, 0
		return status
	}
	p.healthy++
	s.healthy++
	if p.healthy >= simHealthyAfter && !p.proved {
		p.proved, p.provedAt = true, time.Now()
	}
	if s.healthy >= simHealthyAfter {
		s.proved = true
		m.provedPlans[p.plan()] = true
	}
	return status
}
