package supervisor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"superctl/api"
)

// ledger is what was said of each change: to the history, to those who are notified, and to the
// client.
type ledger struct {
	before  []string // what may be live now
	records []Outcome
	begun   []Outcome
	ends    []Outcome
}

func (d *simDaemon) record(o Outcome) error {
	if !d.edge("record " + o.Kind) {
		return errSimDead
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.historyFails {
		return errSimDisk[0]
	}
	d.m.checkStartOutcome(d, &o)
	d.m.ledger.records = append(d.m.ledger.records, o)
	d.m.logf("history: %s %s %s", o.Kind, o.Release, o.Result)
	return nil
}

func (d *simDaemon) tell(o Outcome) {
	if o.Kind == api.CronKind {
		d.tellCron(o)
		return
	}
	if o.Kind == HealthKind || !d.edge("tell "+o.Kind) {
		return
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.logf("told: %s %s %s", o.Kind, o.Release, cmp.Or(string(o.Result), "begins"))
	if o.Result == "" {
		d.m.ledger.begun = append(d.m.ledger.begun, o)
		return
	}
	d.m.ledger.ends = append(d.m.ledger.ends, o)
}

// checkOutcome holds what a client was told against what was recorded, told and done.
func (m *sim) checkOutcome(d *simDaemon, req Request, out *Outcome) {
	if req.Kind == Upgrade {
		return
	}
	m.checkDone(req, out)
	m.checkGuard(out)
	m.checkGuardRevert(out)
	if req.Expect != "" && out.Previous != req.Expect && (out.Changed || out.Result == Reverted) {
		m.violate("%s from %s, and %s was expected to be live", out.Kind, out.Previous, req.Expect)
	}
	overtaken := req.Kind == Rollback &&
		!slices.ContainsFunc(m.of(m.ledger.records, out), func(o Outcome) bool { return o.Release == out.Release })
	if overtaken {
		return // it ended another change, whose own outcome says so
	}
	if (out.Changed || out.Result != Done) && !strings.Contains(out.Error, "was expected") &&
		!slices.ContainsFunc(out.Warnings, func(w string) bool { return strings.Contains(w, "history") }) {
		if n := m.count(m.ledger.records, out); n != 1 && !strings.Contains(out.Error, ErrStopping.Error()) {
			m.violate("%s ended as %s, which the history has %d times", out.Kind, out.Result, n)
		}
		if slices.Contains([]Kind{Switch, Rollback, Reload}, req.Kind) && len(m.of(m.ledger.begun, out)) > 0 {
			if n := m.count(m.ledger.ends, out); n != 1 && !d.leaving && !m.leaves() {
				m.violate("%s ended as %s, which was told %d times", out.Kind, out.Result, n)
			}
		}
	}
}

func (m *sim) leaves() bool { return m.now.s.stopping || m.now.dead || m.now.s.leaving }

func (m *sim) of(list []Outcome, out *Outcome) (same []Outcome) {
	for _, o := range list {
		if o.Started.Equal(out.Started) && o.Kind == out.Kind {
			same = append(same, o)
		}
	}
	return same
}

func (m *sim) count(list []Outcome, out *Outcome) (n int) {
	for _, o := range m.of(list, out) {
		if o.Result == out.Result {
			n++
		}
	}
	return n
}

// check holds at the end that whoever was told of the beginning of a change was told of its end,
// and of one end only.
func (l *ledger) check(m *sim) {
	for i := range l.begun {
		ends := m.of(l.ends, &l.begun[i])
		results := make(map[Result]bool)
		for _, o := range ends {
			results[o.Result] = true
		}
		if len(results) != 1 {
			m.violate(
				"of the end of %s to %s this was told: %v", l.begun[i].Kind, l.begun[i].Release, fmt.Sprint(results),
			)
		}
		for _, o := range m.of(l.records, &l.begun[i]) {
			if len(ends) > 0 && o.Result != ends[0].Result {
				m.violate(
					"the history has %s of %s, and those who are notified have %s", o.Result, o.Kind, ends[0].Result,
				)
			}
		}
	}
}
