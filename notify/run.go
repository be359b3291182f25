package notify

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"superctl/api"
)

// Hold keeps back how changes of a run end, until Announce says how the whole run has ended. If
// release is called before, the run's client is gone, and they are delivered.
func (s *Sender) Hold(run string) (release func()) {
	s.mu.Lock()
	s.held[run] = true
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.held, run)
		s.mu.Unlock()
		s.box.release(run)
		s.wakeRun()
	}
}

// Announce puts the end of a run into the outbox, in place of the ends of its changes on this host.
// A run is announced once.
func (s *Sender) Announce(r api.RunReport) error {
	if err := r.Validate(); err != nil {
		return &api.RefusedError{Usage: true, Err: err}
	}
	err := s.put(newRunMessage(s.opt.App, s.opt.Host, r, s.box.heldOutcome(&r), time.Now()), "")
	if err == nil {
		s.box.dropHeld(r.Run)
	}
	s.wakeRun()
	return err
}

// newRunMessage returns the message for the end of a run. Base is the outcome of its change on this
// host, which knows the commits.
func newRunMessage(app, host string, r api.RunReport, base api.Outcome, now time.Time) *Message {
	out := base
	out.Kind, out.Result, out.Release, out.Who, out.Origin = r.Kind, r.Result, r.Release, r.Who, r.Origin
	out.Maintenance = r.Maintenance
	out.Previous, out.Error, out.Seconds = cmp.Or(r.Previous, base.Previous), r.Error, r.Seconds
	if out.Started.IsZero() {
		out.Started = now.Add(-time.Duration(r.Seconds * float64(time.Second)))
	}
	m := newMessage(app, host, out, now)
	m.ID, m.Run = "run-"+r.Run, &r
	m.Text = m.sentence()
	return m
}

// runSentence says how a run has ended, and on which hosts.
func (m *Message) runSentence() string {
	o, r := &m.Outcome, m.Run
	app := m.App
	if r.Fleet != "" {
		app += "@" + r.Fleet
	}
	release := cmp.Or(named(o.Release, o.Commit), "the "+o.Kind)
	by := fmt.Sprintf("%s by %s, run %s, %s", o.Kind, cmp.Or(m.who(), "an unknown user"), r.Run, took(o.Seconds))
	why := ""
	if r.Error != "" {
		why = ": " + reason(r.Error)
	}
	where, behind := "", ""
	if len(r.Hosts) > 0 {
		where = " on " + hostList(r.Hosts)
	}
	if r.Maintenance != "" {
		return fmt.Sprintf("%s: %s%s (%s).", app, m.maintenanceOfRun(where), why, by)
	}
	switch {
	case len(r.Behind) > 0 && m.Event == Success:
		behind = ". BEHIND: " + hostList(r.Behind)
	case len(r.Behind) > 0:
		behind = ". NOT BACK: " + hostList(r.Behind)
	}
	switch m.Event {
	case Success:
		live := "is live"
		if o.Kind == string(api.Reload) {
			live = "runs with the current config"
		}
		return fmt.Sprintf("%s: %s %s%s%s%s (%s).", app, release, live, where, behind, why, by)
	case Revert:
		return fmt.Sprintf("%s: %s was REVERTED%s%s%s (%s).", app, release, where, behind, why, by)
	default:
		return fmt.Sprintf("%s: %s was REFUSED%s%s, no host has changed%s (%s).", app, release, where, behind, why, by)
	}
}

// maintenanceOfRun says what the users of which hosts get after a run that has shown or ended the page.
func (m *Message) maintenanceOfRun(where string) string {
	r := m.Run
	on := r.Maintenance == api.MaintenanceOn
	switch {
	case m.Event != Success && on:
		return "the maintenance page could not be shown"
	case m.Event != Success:
		return "users STILL GET the maintenance page"
	}
	text, others := "maintenance is over, users reach the app"+where, "NOT OVER on "
	if on {
		text, others = "users get the maintenance page"+where, "NOT on "
	}
	if len(r.Behind) > 0 {
		text += ". " + others + hostList(r.Behind)
	}
	return text
}

// mostNamed limits how many hosts a sentence names.
const mostNamed = 8

// hostList names hosts in a sentence.
func hostList(hosts []string) string {
	switch n := len(hosts); {
	case n > mostNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:mostNamed], ", "), n-mostNamed)
	case n > 1:
		return strings.Join(hosts[:n-1], ", ") + " and " + hosts[n-1]
	}
	return strings.Join(hosts, "")
}

// heldOutcome returns the first end of a change to the run's release that waits for the end of the
// run; zero if none does.
func (b *outbox) heldOutcome(r *api.RunReport) api.Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.items {
		if it.held != r.Run {
			continue
		}
		if m, err := b.read(it); err == nil && m.Outcome.Release == r.Release {
			return m.Outcome
		}
	}
	return api.Outcome{Steps: []api.Step{}}
}

// dropHeld drops the messages that have waited for the end of a run.
func (b *outbox) dropHeld(run string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.items {
		if it.held == run {
			it.held, it.to = "", nil
			b.drop(it)
		}
	}
	b.trim()
}

// release makes the messages that have waited for the end of a run deliverable.
func (b *outbox) release(run string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.items {
		if it.held == run {
			it.held = ""
		}
	}
}
