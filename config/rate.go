package config

import (
	"slices"

	"superctl/api"
)

// rates reports each guard of the rate that could never have a verdict: both releases must answer at the
// same time, and their clients must not keep connections.
func (l *loader) rates() {
	for i := range l.c.Processes {
		p := &l.c.Processes[i]
		if p.Guard == nil || p.Guard.Rate == nil {
			continue
		}
		key := "process." + p.Name + ".guard.rate"
		if p.Strategy != api.Overlap {
			l.at(key, `process.%s has the strategy %q, with which two complete releases never run at once: `+
				`remove rate, or write strategy = "overlap"`, p.Name, p.Strategy)
		}
		if !p.DrainHook {
			l.at(key, "process.%s has drain_hook = false, so clients keep their connections to the old release: "+
				"remove rate, or drain_hook = false", p.Name)
		}
		for _, name := range p.Listen {
			l.comparable(key, name)
		}
	}
}

// comparable reports a listener with which two releases cannot be compared.
func (l *loader) comparable(key, name string) {
	i := slices.IndexFunc(l.c.Listen, func(li Listen) bool { return li.Name == name })
	if i < 0 {
		return // reported already
	}
	if li := l.c.Listen[i]; li.Address.Network() == "systemd" || li.Gate == "shared" {
		l.at(key, "listener %q (%s) has one queue for all generations, so superctl cannot choose which of them "+
			"a connection reaches: remove rate, or have the daemon open the listener, without gate = \"shared\"", name, li.Address)
	}
}
