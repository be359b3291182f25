package config

import (
	"strings"

	"superctl/api"
)

// drainHook parses whether the workers may load the drain hook. It is of no use to a process
// without listeners.
func (l *loader) drainHook(key string, t processTable, p *Process) {
	p.DrainHook = t.DrainHook == nil || *t.DrainHook
	if t.DrainHook != nil && len(t.Listen) == 0 {
		l.at(key+".drain_hook", "drain_hook is for a process with listeners: leave it out")
	}
}

// drainConnections parses how long workers may keep their connections before the stop signal. They
// must get no new connections meanwhile, and no other step may wait for them.
func (l *loader) drainConnections(key string, t processTable, p *Process) {
	if t.DrainConnections == nil {
		return
	}
	key += ".drain_connections"
	p.DrainConnections = l.duration(key, t.DrainConnections, 0, 0)
	p.StopsAtOnce = p.DrainConnections == 0
	if len(t.Listen) == 0 {
		l.at(key,
			"drain_connections is for a process with listeners: leave it out; drain is how long this process may take "+
				"to finish")
	}
	if p.Strategy == api.Hold {
		l.at(key, `with strategy "hold", drain_connections makes new connections wait until the old ones end: remove it`)
	}
	for _, name := range t.Listen {
		if li, ok := l.f.Listen[name]; ok && (li.Gate == "shared" || strings.HasPrefix(li.Address, "systemd:")) {
			l.at(key,
				"old and new workers accept from listener %q together, so the old ones have to stop at once: leave "+
					"drain_connections out, or give the listener an address of its own", name)
		}
	}
}
