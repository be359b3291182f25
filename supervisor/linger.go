package supervisor

import (
	"time"
)

// lingerEvery is how often the connections of a generation that lingers are counted: the kernel has no event for their end.
const lingerEvery = time.Second

// drainConnections is for how long connections may stay open before the stop signal; 0 = not at all.
func (p *Plan) drainConnections() (longest time.Duration) {
	for i := range p.Processes {
		longest = max(longest, p.Processes[i].DrainConnections)
	}
	return longest
}

// linger keeps the workers of a generation that had its time without a stop signal while they have connections, not longer than
// until end: some servers close a WebSocket as soon as they are told to finish, and others cut an answer that has no end.
// New connections go elsewhere by then.
func (s *Supervisor) linger(g *generation, end time.Time) {
	g.lingers = true
	since := g.since
	s.stopBackground(g)
	s.beside(func() {
		ticker := time.NewTicker(lingerEvery)
		defer ticker.Stop()
		for {
			var count func() int
			if s.do(func() {
				if g.lingers && g.state == Standby {
					count = g.connections()
				}
			}) != nil || count == nil {
				return // it serves again, or was ended
			}
			if count() == 0 || !time.Now().Before(end) {
				s.retireAtRest(g, since)
				return
			}
			select {
			case <-ticker.C:
			case <-time.After(time.Until(end)):
			case <-s.done:
				return
			}
		}
	})
}

// stopBackground has the processes without listeners finish.
func (s *Supervisor) stopBackground(g *generation) {
	for _, in := range withoutListeners(g) {
		s.unwant(in)
	}
}

// connections returns what counts the connections of a generation's workers, for a goroutine other than the owner.
func (g *generation) connections() func() int {
	var all []func() int
	for _, in := range g.instances {
		if in.w == nil {
			continue
		}
		w := in.w
		for _, name := range in.proc.Listen {
			gate, number := g.gates[name], in.number(name)
			all = append(all, func() int {
				n, err := gate.Connections(number, w.PIDs())
				if err != nil {
					return 0 // where they cannot be counted nobody waits for them
				}
				return n
			})
		}
	}
	return func() (n int) {
		for _, count := range all {
			n += count()
		}
		return n
	}
}
