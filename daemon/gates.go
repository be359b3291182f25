package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"superctl/config"
	"superctl/socket"
	"superctl/supervisor"
)

// gate adapts a socket.Gate to supervisor.Gate: the two packages do not import each other.
type gate struct{ *socket.Gate }

// Settle waits until the accept queue is drained.
func (g gate) Settle(ctx context.Context, gen int) (supervisor.Settled, error) {
	s, err := g.Gate.Settle(ctx, gen)
	return supervisor.Settled{Waited: s.Waited, Left: s.Left}, err
}

// Members returns the listeners for the next daemon.
func (g gate) Members() []supervisor.Member {
	var list []supervisor.Member
	for _, m := range g.Gate.Members() {
		list = append(list, supervisor.Member{Gen: m.Gen, FD: m.FD})
	}
	return list
}

// Mend repairs what other processes have changed.
func (g gate) Mend() supervisor.Mended { return supervisor.Mended(g.Gate.Mend()) }

// Private returns a new private gate of the same name.
func (g gate) Private() (supervisor.Gate, error) {
	p, err := g.Gate.Private()
	if err != nil {
		return nil, err
	}
	return gate{p}, nil
}

// remainingGates returns the gates for stopping orphaned workers: all except those with a socket
// from systemd, which passes it only to a daemon.
func remainingGates(c *config.Config) ([]supervisor.Gate, error) {
	own := *c
	own.Listen = slices.DeleteFunc(slices.Clone(c.Listen), func(l config.Listen) bool {
		return l.Address.Network() == "systemd"
	})
	gates, err := makeGates(&own, nil, EarlierDaemons(c.App))
	if err != nil {
		return nil, err
	}
	_, err = keepKinds(gates, &own, nil)
	return gates, err
}

// keepKinds replaces gates whose kind in the config differs from the kind of the listeners that
// running workers use: with the new kind no release could be started at these addresses. It returns
// a message that names these gates, or "".
func keepKinds(gates []supervisor.Gate, c *config.Config, inherited *socket.Inherited) (kept string, err error) {
	kinds := supervisor.GateKinds(c.State, c.App)
	var texts []string
	for i, l := range c.Listen {
		wanted, was := gates[i].Kind(), kinds(l.Name, l.Address.String())
		if was == "" || was == wanted {
			continue
		}
		l.Gate = was
		one := *c
		one.Listen = []config.Listen{l}
		former, err := makeGates(&one, inherited, EarlierDaemons(c.App))
		if err != nil {
			return "", err
		}
		gates[i] = former[0]
		texts = append(
			texts,
			fmt.Sprintf(
				"listener %q keeps its gate %q: to change it to %q, stop and start the service", l.Name, was, wanted,
			),
		)
	}
	return strings.Join(texts, "; "), nil
}

// makeGates returns the gates of a config. It binds nothing.
func makeGates(c *config.Config, inherited *socket.Inherited, earlier func(pid int) bool) ([]supervisor.Gate, error) {
	var gates []supervisor.Gate
	for _, l := range c.Listen {
		g, err := socket.New(socket.Options{
			Name: l.Name, Address: l.Address, Backlog: l.Backlog, Mode: l.Mode, Owner: l.Owner, Group: l.Group,
			Gate: l.Gate, Inherited: inherited, Earlier: earlier, PrivateDir: TemporaryParent(),
			Replaces: replacedServer(c.App),
		})
		if err != nil {
			return nil, err
		}
		gates = append(gates, gate{g})
	}
	return gates, nil
}

// formerGate returns a function that makes the gate of a listener of an earlier config.
func formerGate(c *config.Config, kept *descriptors) func(name, address, kind string) (supervisor.Gate, error) {
	return func(name, address, kind string) (supervisor.Gate, error) {
		at, err := socket.ParseAddress(address)
		if err != nil {
			return nil, err
		}
		g, err := socket.New(socket.Options{
			Name: name, Address: at, Gate: kind, Inherited: kept.stored, Earlier: EarlierDaemons(c.App),
		})
		if err != nil {
			return nil, err
		}
		return gate{g}, nil
	}
}
