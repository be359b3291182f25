package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"

	"go.uber.org/zap"
)

// A generation finishes with the listeners that it was started with. The config may have lost one
// of them since, renamed it, or given it another address: then a gate of its own goes on with it
// until the last generation that uses it is gone.

// everyGate is all gates by their names in the state file: those of the config, and former ones
// that still have listeners.
func (ls *listenerSet) everyGate() iter.Seq2[string, Gate] {
	return func(yield func(string, Gate) bool) {
		for name, gate := range ordered(ls.gates) {
			if !yield(name, gate) {
				return
			}
		}
		for key, gate := range ordered(ls.former) {
			if !yield(key, gate) {
				return
			}
		}
	}
}

// formerKey is the name of a former gate in the state file. The config may have another listener of
// the same name.
func formerKey(was gateState) string { return was.Name + "@" + was.Kind + "@" + was.Address }

// openFormer makes the gates of listeners that the config does not have any more as the earlier
// daemon had them.
func (ls *listenerSet) openFormer(st *state) {
	for key := range st.Listeners {
		if ls.gateOf(st, key) != nil || ls.opt.End {
			continue // workers that are stopped need no listener
		}
		was := st.wasGate(key)
		gate, err := ls.reopen(was)
		if err != nil {
			ls.log.Error("the listener of an earlier config is not known any more; its workers finish without superctl's help",
				zap.String("listener", was.Name), zap.String("address", was.Address), zap.Error(err))
			continue
		}
		ls.log.Info("a listener is not in the config any more; the workers that have it finish with it",
			zap.String("listener", was.Name), zap.String("address", was.Address))
		ls.former[formerKey(was)] = &front{Gate: gate}
	}
}

// GateKinds returns the kinds of the gates whose listeners an earlier daemon's workers have, by
// name and address. One address has one kind of gate at a time: listeners of two kinds cannot share
// a port or a path. A state that cannot be read has none.
func GateKinds(stateDir, app string) func(name, address string) string {
	st, err := readState(stateDir, app)
	return func(name, address string) string {
		for key, members := range st.Listeners {
			if was := st.wasGate(key); err == nil && len(members) > 0 && was.Name == name && was.Address == address {
				return was.Kind
			}
		}
		return ""
	}
}

func (ls *listenerSet) reopen(was gateState) (Gate, error) {
	if ls.opt.Former == nil || was.Address == "" {
		return nil, fmt.Errorf("listener %q: its address is not known", was.Name)
	}
	return ls.opt.Former(was.Name, was.Address, was.Kind)
}

// wasGate is what the listener was when the state was written. A daemon before this format has
// written its name only.
func (st *state) wasGate(key string) gateState {
	was := st.Gates[key]
	was.Name = cmp.Or(was.Name, key)
	return was
}

// gateOf is the gate of a listener in the state file; nil when there is none any more.
func (ls *listenerSet) gateOf(st *state, key string) Gate {
	was := st.wasGate(key)
	if gate, ok := ls.gates[was.Name]; ok &&
		(was.Address == "" || gate.Address() == was.Address && gate.Kind() == was.Kind) {
		return gate
	}
	if gate, ok := ls.former[formerKey(was)]; ok {
		return gate
	}
	return nil
}

// keyOf is the name of a gate in the state file; false = it has none, because nothing is known of it.
func (ls *listenerSet) keyOf(gate Gate) (string, bool) {
	for key, g := range ls.everyGate() {
		if g == gate {
			return key, true
		}
	}
	return "", false
}

// gatesOf is the gates of a generation that an earlier daemon has started: none of its listeners is
// without one.
func (ls *listenerSet) gatesOf(st *state, gs *generationState) map[string]Gate {
	gates := make(map[string]Gate)
	for name, gate := range ordered(ls.gates) {
		gates[name] = gate
	}
	for key, members := range st.Listeners {
		if !slices.ContainsFunc(members, func(m memberState) bool { return slices.Contains(m.Users, gs.ID) }) {
			continue
		}
		name := st.wasGate(key).Name
		if gates[name] = ls.gateOf(st, key); gates[name] == nil {
			gates[name] = lostGate(name)
		}
	}
	for i := range gs.Plan.Processes {
		for _, name := range gs.Plan.Processes[i].Listen {
			if gates[name] == nil {
				gates[name] = lostGate(name)
			}
		}
	}
	return gates
}

// lostGate is a listener of which nothing is known but its name. It has no generation, so
// no worker is sent to it, and what is asked of it fails.
type lostGate string

// unknown reports whether nothing is known of a listener of the generation.
func (g *generation) unknown(name string) bool {
	_, lost := g.gates[name].(lostGate)
	return lost
}

func (g lostGate) err() error {
	return fmt.Errorf("listener %q is not in the config any more, and nothing is known of it", string(g))
}

func (g lostGate) Name() string                                       { return string(g) }
func (lostGate) Address() string                                      { return "" }
func (lostGate) Kind() string                                         { return "lost" }
func (g lostGate) Stage(int) error                                    { return g.err() }
func (g lostGate) FD(int) (int, error)                                { return -1, g.err() }
func (g lostGate) Dial(context.Context, int) (net.Conn, error)        { return nil, g.err() }
func (g lostGate) Relisten(int) error                                 { return g.err() }
func (g lostGate) Cutover(int) error                                  { return g.err() }
func (g lostGate) Spread([]int) error                                 { return g.err() }
func (g lostGate) Canary(int, int, []netip.Prefix) error              { return g.err() }
func (lostGate) Settle(context.Context, int) (Settled, error)         { return Settled{}, nil }
func (lostGate) Close(int) error                                      { return nil }
func (lostGate) Members() []Member                                    { return nil }
func (g lostGate) Adopt(int, int) error                               { return g.err() }
func (lostGate) Locate([]int) error                                   { return nil }
func (g lostGate) Verify(context.Context, int) error                  { return g.err() }
func (lostGate) Watch(context.Context, func()) error                  { return nil }
func (lostGate) Mend() Mended                                         { return Mended{} }
func (lostGate) Strangers() []string                                  { return nil }
func (lostGate) Live() int                                            { return 0 }
func (g lostGate) Queue(int) (length, limit int, err error)           { return 0, 0, g.err() }
func (g lostGate) Connections(gen int, pids []int) (n int, err error) { return 0, g.err() }
func (g lostGate) Unanswered(gen int, pids []int) (n int, err error)  { return 0, g.err() }
func (g lostGate) Private() (Gate, error)                             { return nil, g.err() }
