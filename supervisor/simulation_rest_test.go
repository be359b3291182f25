package supervisor

import (
	"slices"
)

// checkRest is called when all has come to rest, with all troubles over.
func (m *sim) checkRest() {
	d := m.now
	st := d.s.Status()
	var known []string
	var wanted map[string]Descriptor
	if d.s.do(func() {
		wanted = d.s.store.descriptors()
		for _, g := range ordered(d.s.generations) {
			for _, in := range g.instances {
				if in.w != nil {
					known = append(known, in.w.Tag())
				}
			}
		}
	}) != nil {
		m.locked(func() { m.violate("the daemon is gone at rest") })
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case st.Changing != nil:
		m.violate("a change never ends: %+v", *st.Changing)
	case st.Release == "":
		m.violate("nothing is live at rest: %s", st.Reason)
	case st.Health != HealthOK &&
		(st.Health != HealthDegraded || m.release(st.Release).Worker == ""):
		m.violate("at rest the app is %s: %s", st.Health, st.Reason)
	case len(st.Generations) != 1:
		m.violate("at rest there are %d generations", len(st.Generations))
	case m.link != st.Release && m.link != "":
		m.violate("current leads to %s, and %s is live", m.link, st.Release)
	case m.open > 0:
		m.violate("%d requests never had an answer", m.open)
	}
	for _, p := range m.procs {
		if !slices.Contains(known, p.tag()) {
			m.violate("%s runs, and the daemon does not know it", p)
		}
		if p.leaks {
			m.violate("%s uses too much memory, and was not recycled", p)
		}
	}
	m.checkSockets(d)
	m.checkCommands(d)
	if m.sc.Site.Store {
		for name := range ordered(wanted) {
			if _, ok := m.stored[name]; !ok {
				m.violate("%s is not in the store", name)
			}
		}
		for name := range ordered(m.stored) {
			if _, ok := wanted[name]; !ok {
				m.violate("%s is in the store still", name)
			}
		}
	}
	if saved, ok := m.savedState(); !ok || saved.Live != st.Generation || saved.Change != nil || saved.Untold != nil ||
		len(saved.Generations) != 1 {
		m.violate(
			"the state file is behind at rest: live %d of %d, change %v, untold %v", saved.Live, st.Generation,
			saved.Change, saved.Untold,
		)
	}
	m.ledger.check(m)
}

// checkPage is called when all troubles have been over for a while and the app is in maintenance: its
// page answers, and every connection reaches it.
func (m *sim) checkPage(d *simDaemon) {
	var page *generation
	answers, held := false, false
	_ = d.s.do(func() {
		held = d.s.maintenance.on != nil && d.s.maintenance.on.Hold
		if page = d.s.maintenance.page; page != nil {
			answers = page.serves()
		}
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	if held {
		m.violate("connections still get the page of a hold that is over")
		return
	}
	if !answers {
		m.violate("the app is in maintenance, and its page does not answer")
		return
	}
	for _, g := range d.gates {
		if g.a.kind != kindShared && !slices.Equal(g.a.target, []*simSocket{g.socket(page.staged[g.a.name].number)}) {
			m.violate("the app is in maintenance, and connections to %s do not reach the page", g.a.address)
		}
	}
}

// checkSockets holds that only what is live has listeners, and that no connection is stuck.
func (m *sim) checkSockets(d *simDaemon) {
	live := d.s.live
	for _, s := range m.sockets {
		if len(s.queue) > 0 || s.coming > 0 {
			m.violate("%d connections to %s are stuck", len(s.queue)+s.coming, s.address.address)
		}
		if s == s.address.shared {
			continue
		}
		held := false
		for _, g := range d.gates {
			for _, l := range live.listeners()[g.a.name] {
				held = held || g.socket(l.number) == s
			}
		}
		if !held {
			m.violate("the listener %d of %s is still open", s.number, s.address.address)
		}
	}
}

// checkEnd is called when the daemon was told to end, and has.
func (m *sim) checkEnd() {
	for _, p := range m.procs {
		m.violate("%s outlives the daemon that was told to end", p)
	}
}
