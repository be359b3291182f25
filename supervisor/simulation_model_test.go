package supervisor

import (
	"maps"
	"slices"
	"testing"
)

// Model is one address in the simulator's model of the kernel, alone, for a test that holds it
// against the real one.
type Model struct {
	m     *sim
	d     *simDaemon
	conns []*simConn
}

// ModelWorker is a worker of a Model.
type ModelWorker struct {
	m *Model
	p *simProc
}

// NewModel makes an address with a gate of that kind.
func NewModel(t *testing.T, kind string) *Model {
	t.Helper()
	m := newSim(scenario{Seed: 1, Site: simSite{Gate: kind, Listeners: 1}}, t.TempDir(), inShort)
	return &Model{m: m, d: m.daemon(nil)}
}

// Gate is the gate that the daemon has now.
func (o *Model) Gate() Gate { return o.d.gates[0] }

// Restart has the next daemon adopt what this one has open; then this one ends.
func (o *Model) Restart() error {
	handed := make(map[string]any)
	members := o.Gate().Members()
	for _, member := range members {
		handed[listenerName(o.Gate().Name(), memberState{Gen: member.Gen})] = o.d.fds[member.FD]
	}
	before := o.d
	o.d = o.m.daemon(handed)
	for _, member := range members {
		fd, _ := o.d.s.opt.Inherited(listenerName(o.Gate().Name(), memberState{Gen: member.Gen}))
		if err := o.Gate().Adopt(member.Gen, fd); err != nil {
			return err
		}
	}
	o.m.locked(func() {
		before.dead = true
		for _, fd := range slices.Sorted(maps.Keys(before.fds)) {
			before.drop(fd)
		}
	})
	return nil
}

// Routes are the generations that a new connection may reach. None: it is refused.
func (o *Model) Routes() (gens []int) {
	a := o.m.addresses[0]
	list := a.target
	switch {
	case a.kind == kindShared:
		return []int{0}
	case a.canary != nil && a.share == 10_000:
		list = []*simSocket{a.canary}
	case len(list) == 0 && a.kind == kindSteer:
		list = a.group
	}
	for _, s := range list {
		gens = append(gens, s.number)
	}
	return gens
}

// Connect has a client reach the listener of a generation; with -1 it is refused. It returns the
// number of the connection.
func (o *Model) Connect(gen int) int {
	c := &simConn{id: len(o.conns)}
	o.conns = append(o.conns, c)
	for _, s := range o.m.sockets {
		if s.number == gen {
			c.socket = s
			s.queue = append(s.queue, c)
			o.m.accept(s)
		}
	}
	return c.id
}

// Worker starts a worker that has the listener of a generation; it does not accept yet.
func (o *Model) Worker(gen int) *ModelWorker {
	s := o.d.gates[0].socket(gen)
	p := &simProc{m: o.m, sockets: []*simSocket{s}}
	s.refs++
	s.holders = append(s.holders, p)
	return &ModelWorker{o, p}
}

// Accept has the worker accept from now on, or no more.
func (w *ModelWorker) Accept(now bool) {
	w.p.up = now
	w.m.m.accept(w.p.sockets[0])
}

// End ends the worker.
func (w *ModelWorker) End() {
	w.p.ended = true
	w.p.release()
}

// Fate is what has become of a connection: queued, served, reset or refused.
func (o *Model) Fate(id int) string {
	c := o.conns[id]
	switch {
	case c.socket == nil:
		return "refused"
	case !c.until.IsZero():
		return "served"
	case slices.Contains(c.socket.queue, c):
		return "queued"
	}
	return "reset"
}
