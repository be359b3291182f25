package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"superctl/supervisor/requests"
	"superctl/supervisor/worker"
)

// The counts of requests, and what happens while the guard compares two releases.

// simCompared is what the guards of a run have come to.
type simCompared struct{ begun, reverted, equal, kept, silent, answering int }

func (c *simCompared) add(o simCompared) {
	c.begun, c.reverted, c.equal, c.kept = c.begun+o.begun, c.reverted+o.reverted, c.equal+o.equal, c.kept+o.kept
	c.silent, c.answering = c.silent+o.silent, c.answering+o.answering
}

// lacks reports whether there is something that no guard has come to.
func (c *simCompared) lacks() bool {
	return min(c.begun, c.reverted, c.equal, c.kept, c.silent, c.answering) == 0
}

// guard gives half of the scenarios a guard, releases that answer with errors, and troubles while it
// compares. It draws from a stream of its own, so that the others stay as they were.
func (sc *scenario) guard(r *rand.Rand) {
	if r.IntN(2) > 0 {
		return
	}
	sc.Site.Guard, sc.Site.Strikes = true, r.IntN(3) > 0
	if r.IntN(3) > 0 { // two releases can serve at the same time
		sc.Site.Web, sc.Site.Gate = Overlap, []string{kindSteer, kindSteer, "rename"}[r.IntN(3)]
	}
	if sc.Site.Web == Overlap && sc.Site.Gate == kindSteer && r.IntN(2) > 0 { // as the config allows it
		sc.Site.Control = []int{500, 2000, half}[r.IntN(3)]
	}
	for i := range sc.Bad {
		sc.Bad[i].Errors = []string{"", "", "", "half", "all"}[r.IntN(5)]
	}
	at := sc.Actions[len(sc.Actions)-1].At + 30_000
	for range 2 + r.IntN(3) {
		do := []string{"switch", "switch", "canary"}[r.IntN(3)]
		sc.Actions = append(sc.Actions, simAction{At: at, Do: do, Release: fmt.Sprint("r", 1+r.IntN(6))})
		switch r.IntN(3) {
		case 0:
			sc.Actions = append(sc.Actions, simAction{At: at + 2000 + r.IntN(9000), Do: "hiccup", For: 2000 + r.IntN(6000)})
		case 1:
			sc.Actions = append(sc.Actions, simAction{At: at + 1000 + r.IntN(25_000), Do: "division", N: 1 + r.IntN(4)})
		}
		at += 40_000 + r.IntN(80_000)
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return a.At - b.At })
}

// place names a worker among those that count.
func (p *simProc) place() string {
	return fmt.Sprintf("g%d.%s.%d", p.spec.Generation, p.spec.Process, p.spec.Instance)
}

// counts returns where a worker counts. It makes that at its start.
func (p *simProc) counts() *requests.Reading {
	place := p.place()
	if p.m.counted[place] == nil {
		p.m.counted[place] = &requests.Reading{Counting: true}
	}
	return p.m.counted[place]
}

// countRequest counts a connection that a worker has accepted as a request: where the rate is guarded, its
// answer at its end.
func (m *sim) countRequest(p *simProc, c *simConn) {
	p.counts().Started++
	switch {
	case p.silent():
		c.until = time.Now().Add(simGivesUp)
	case m.sc.Site.Rate == "":
		p.counts().Answered[m.classOf(p, c)]++
	default:
		m.answerLater(p, c)
	}
}

// classOf is the class of the status of an answer, from 0 for 1xx.
func (m *sim) classOf(p *simProc, c *simConn) int {
	switch {
	case !m.sc.Site.Freezes && time.Now().Before(m.hiccupUntil): // what all releases depend on fails
		return 4
	case p.how.Errors == "all", p.how.Errors == "half" && m.hash("error", uint64(c.id))%2 == 0: //nolint:gosec // positive
		return 4
	}
	return 1
}

// requestCounts is what a guard reads. Sometimes the counts are gone, begin again or cannot be read.
func (d *simDaemon) requestCounts() (r requests.Report, err error) {
	fault := d.moment("counts") % 100
	d.m.locked(func() {
		r.Places = make(map[string]*requests.Reading)
		switch fault {
		case 0:
			err = errors.New("permission denied")
			return
		case 1:
			return // all are gone, for a moment
		case 2:
			clear(d.m.counted)
		}
		for place, of := range d.m.counted {
			c := *of
			r.Places[place] = &c
		}
		d.m.countWaiting(r.Places)
	})
	return r, err
}

// heardGuard takes a progress of a change: a comparison that begins is a moment at which faults hurt.
func (m *sim) heardGuard(d *simDaemon, client int, ev Event) {
	if ev.Type != "progress" || !strings.Contains(ev.Detail, ": compared with ") {
		return
	}
	strike := 0
	m.locked(func() {
		m.compared.begun++
		m.logf("compared: %s", ev.Detail)
		if m.sc.Site.Strikes {
			strike = 1 + int(m.hash("strike", uint64(client))%7) //nolint:gosec // small
		}
	})
	if strike == 0 {
		return
	}
	after := time.Duration(m.hash("strike after", uint64(client))%9000)*time.Millisecond + d.moment("strike")
	time.AfterFunc(after, func() { m.locked(func() { m.strike(d, strike) }) })
}

// strike is a fault during a comparison.
func (m *sim) strike(d *simDaemon, what int) {
	if d.dead || m.healed || d.s.handover.handedOver {
		return
	}
	m.faultAt = time.Now()
	var web []*simProc
	for _, p := range m.procs {
		if p.spec.Process == "web" && !p.ended && p.told.IsZero() {
			web = append(web, p)
		}
	}
	slices.SortStableFunc(web, func(a, b *simProc) int { return a.spec.Generation - b.spec.Generation })
	switch what {
	case 1:
		m.restartAfter = 700 * time.Millisecond
		d.die("killed in a comparison")
	case 2, 3:
		if len(web) > 0 { // a worker of the old release
			web[0].die(worker.Exit{Known: true, Signal: syscall.SIGSEGV}, "crash")
		}
	case 4:
		if len(web) > 0 { // a worker of the new release
			web[len(web)-1].die(worker.Exit{Known: true, Signal: syscall.SIGSEGV}, "crash")
		}
	case 5:
		m.canariesFail, m.gatesFail = 4, 1
	default:
		m.hiccupUntil = time.Now().Add(5 * time.Second)
	}
}

// longestDivision is longer than a comparison takes, with a second to notice its end, and the
// probation before it.
const longestDivision = 115 * time.Second

// checkDivision holds that two releases are compared only within a change, and not for long.
func (m *sim) checkDivision(s *Supervisor) {
	d := s.listeners.divided
	switch {
	case d == nil:
		m.comparing = nil
		return
	case m.comparing != d:
		m.comparing, m.comparedFrom = d, time.Now()
	case time.Since(m.comparedFrom) > longestDivision:
		m.violate("generation %d is compared with %d for %s", d.after.id, d.before.id, time.Since(m.comparedFrom))
	}
	if s.change == nil {
		m.violate("generation %d gets a part of the connections for a comparison, and no change is in progress", d.before.id)
	}
}

// noteReverted notes the generations that a change has taken back.
func (m *sim) noteReverted(s *Supervisor) {
	m.keepsParts = len(s.listeners.remnants) > 0
	if c := s.change; c != nil && c.to != nil && c.to.reverted && s.live != c.to && s.rolling == nil && m.reverted[c.to.id].IsZero() {
		m.reverted[c.to.id] = time.Now()
	}
}

// forgetUnwrittenReverts forgets, when a daemon ends, what it took back and could not note: the disk
// refused that, or was still writing. For the next one such a generation is live, until it has taken it
// back once more.
func (m *sim) forgetUnwrittenReverts() {
	st, ok := m.savedState()
	if !ok {
		return
	}
	for i := range st.Generations {
		g := &st.Generations[i]
		if g.State == Live && (m.disk.behind() || time.Since(m.reverted[g.ID]) <= m.fileTakes()+simMoment) {
			delete(m.reverted, g.ID)
		}
	}
}

// checkReverted holds that no new connection reaches a generation that was reverted, unless its gate
// cannot be set, or only that generation still has the address.
func (m *sim) checkReverted(c *simConn) {
	gen := c.socket.number
	if own := gen >> laneBits; own > 0 {
		gen = own
	}
	if at := m.reverted[gen]; !at.IsZero() && !m.keepsParts && !m.isLast(c.socket) {
		m.violate("connection %d reaches generation %d, which was reverted %s ago", c.id, gen, time.Since(at))
	}
}

// checkGuard holds a verdict of the guard against how the releases answer.
func (m *sim) checkGuard(out *Outcome) {
	for _, r := range out.Guard {
		if r.Of == "rate" {
			m.checkRate(out, &r)
			continue
		}
		switch r.Verdict {
		case "worse":
			m.compared.reverted++
			how := m.release(out.Release)
			// One that has fallen silent answers nothing that could outweigh the errors of a hiccup.
			if out.Result == Reverted && strings.Contains(out.Error, "5xx") && how.Errors == "" && how.Silent == 0 {
				m.violate("%s was reverted for its errors, and has none of its own: %s", out.Release, out.Error)
			}
		case "no worse":
			m.compared.equal++
		}
	}
}

// isLast reports whether no daemon runs and a listener is the last of its address: the kernel sends all
// connections there.
func (m *sim) isLast(s *simSocket) bool {
	return m.now.dead && !slices.ContainsFunc(m.procs, func(p *simProc) bool {
		return !p.ended && slices.ContainsFunc(p.sockets, func(o *simSocket) bool { return o != s && o.address == s.address })
	})
}
