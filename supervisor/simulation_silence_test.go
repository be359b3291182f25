package supervisor

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	"superctl/api"
	"superctl/supervisor/requests"
)

// Sites whose guard judges the rate, and releases that fall silent.

// simGivesUp is after how long a client leaves that has no answer.
const simGivesUp = 20 * time.Second

// silence gives most sites that can compare two releases a guard of the rate. Some releases of any site
// with a guard fall silent, and now and then no user comes. It draws from a stream of its own, so that
// the others stay as they were.
func (sc *scenario) silence(r *rand.Rand) {
	s := &sc.Site
	if !s.Guard || r.IntN(3) == 0 {
		return
	}
	if s.Web == Overlap && s.Gate != kindShared { // as the config allows it
		s.Rate, s.Freezes = []string{"", "revert", "revert", "warn"}[r.IntN(4)], r.IntN(2) > 0
	}
	for i := range sc.Bad[1:] {
		b := &sc.Bad[1+i]
		if r.IntN(3) == 0 {
			b.Silent, b.Errors = 1+r.IntN(15_000), ""
		}
		b.Hookless = r.IntN(8) == 0
	}
	at := sc.Actions[len(sc.Actions)-1].At + 60_000
	for range 1 + r.IntN(3) {
		do := []string{"switch", "switch", "canary"}[r.IntN(3)]
		sc.Actions = append(sc.Actions, simAction{At: at, Do: do, Release: fmt.Sprint("r", 1+r.IntN(6))})
		if trouble := []string{"", "", "hiccup", "no users", "kill daemon", "crash"}[r.IntN(6)]; trouble != "" {
			sc.Actions = append(sc.Actions, simAction{
				At: at + r.IntN(50_000), Do: trouble, Process: "web", N: r.IntN(4), For: 1000 + r.IntN(40_000),
			}.tidied())
		}
		at += 60_000 + r.IntN(90_000)
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return a.At - b.At })
}

// rate is the guard of the rate as a plan has it.
func (s *simSite) rate() *GuardRate {
	if s.Rate == "" {
		return nil
	}
	return &GuardRate{Warn: s.Rate == "warn"}
}

// silent reports whether a worker answers nothing but probes.
func (p *simProc) silent() bool {
	return p.how.Silent > 0 && time.Since(p.born) >= time.Duration(p.how.Silent)*time.Millisecond
}

// answerLater counts the answer to a request at its end. What all releases depend on may hang first.
func (m *sim) answerLater(p *simProc, c *simConn) {
	if m.sc.Site.Freezes && time.Now().Before(m.hiccupUntil) {
		c.until = c.until.Add(time.Until(m.hiccupUntil))
	}
	class, took := m.classOf(p, c), time.Until(c.until)
	time.AfterFunc(took, func() {
		m.locked(func() {
			if p.ended {
				return
			}
			r := p.counts()
			r.Answered[class]++
			r.Add(&requests.Counts{Durations: answers(took, 1)})
		})
	})
}

// countWaiting counts the requests without an answer, where workers can be silent.
func (m *sim) countWaiting(places map[string]*requests.Reading) {
	for _, p := range m.procs {
		r := places[p.place()]
		if r == nil || p.ended || m.sc.Site.Rate == "" && p.how.Silent == 0 {
			continue
		}
		for _, c := range p.conns {
			if c.until.After(time.Now()) {
				r.InFlight++
			}
		}
	}
}

// hasHook is system.held.
func (d *simDaemon) hasHook(flag string) (has bool, err error) {
	d.m.locked(func() {
		for _, p := range d.m.procs {
			has = has || !d.dead && p.spec.Flag == flag && p.up && !p.ended && !p.how.Hookless
		}
	})
	return has, nil
}

// checkRate holds a verdict on the rate against what the release does.
func (m *sim) checkRate(out *Outcome, r *api.GuardReport) {
	how := m.release(out.Release)
	switch {
	case m.sc.Site.Rate == "":
		m.violate("the rate of %s was judged, and it is not guarded", out.Release)
	case r.Verdict == api.NoWorse:
		m.compared.answering++
	case r.Verdict != api.Worse:
	case how.Silent == 0:
		m.violate("%s is said to be silent, and it answers: %s", out.Release, out.Error)
	case how.Hookless || m.release(out.Previous).Hookless:
		m.violate("%s is said to be silent, and clients keep their connections: %s", out.Release, out.Error)
	default:
		m.compared.silent++
	}
}

// forItsRate reports whether a change failed because its release is as good as silent.
func forItsRate(out *Outcome) bool {
	return strings.Contains(out.Error, " answers in ") && strings.Contains(out.Error, " requests wait")
}

// checkGuardRevert holds that a verdict of the guard is told alike to the client, who has its exit code,
// to the history and to those who are notified.
func (m *sim) checkGuardRevert(out *Outcome) {
	if forItsRate(out) && m.sc.Site.Rate != "revert" {
		m.violate("%s was reverted for its rate, and the guard is set to %q", out.Release, m.sc.Site.Rate)
	}
	if !forItsRate(out) && (!strings.Contains(out.Error, "5xx") || out.Result != Reverted) {
		return
	}
	if code := out.Result.Exit(); code != api.ExitReverted {
		m.violate("the guard found %s worse, and the exit code is %d: %s", out.Release, code, out.Error)
	}
	for _, told := range [][]Outcome{m.ledger.records, m.ledger.ends} {
		for _, o := range m.of(told, out) {
			if o.Result != out.Result || o.Error != out.Error || o.Release != out.Release || !reflect.DeepEqual(o.Guard, out.Guard) {
				m.violate("of %s the history or a message says: %s, %s; its client has: %s, %s",
					out.Release, o.Result, o.Error, out.Result, out.Error)
			}
		}
	}
}
