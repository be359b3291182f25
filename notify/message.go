package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"superctl/api"
)

// Event is the kind of a message.
type Event string

// The events.
const (
	Start    Event = "start"    // a switch, a rollback or a reload begins
	Success  Event = "success"  // it has succeeded
	Abort    Event = "abort"    // it was refused or has failed, and the previous release is still live
	Revert   Event = "revert"   // it was live, and was reverted
	Down     Event = "down"     // a listener does not answer, or a process that should be live is not
	Degraded Event = "degraded" // the app serves, but a process does not stay up or needs attention
	OK       Event = "ok"       // the reported problem is over
	Cron     Event = "cron"     // a scheduled command has failed
	Test     Event = "test"     // a test message; not a change
)

// Events returns the events of changes, of an app's health and of its scheduled commands.
func Events() []Event { return []Event{Start, Success, Abort, Revert, Down, Degraded, OK, Cron} }

// Message is one event of one change. The outbox stores it, and a webhook gets it.
type Message struct {
	ID      string      `json:"id"` // the same for the same event of the same change
	Event   Event       `json:"event"`
	App     string      `json:"app"`
	Host    string      `json:"host"`
	Time    time.Time   `json:"time"`
	Text    string      `json:"text"`
	Outcome api.Outcome `json:"outcome"` // at a start: what is known so far
	// Run is the report at the end of a run over several hosts; nil = a message of this host alone.
	Run *api.RunReport `json:"run,omitempty"`
}

// errorLimit is the maximum length of an error in a sentence, in characters; some errors fill a
// page.
const errorLimit = 500

// lateAfter is the age from which a message states its time.
const lateAfter = 10 * time.Minute

// newMessage returns the message for an outcome that the supervisor reported.
func newMessage(app, host string, out api.Outcome, now time.Time) *Message {
	m := &Message{App: app, Host: host, Time: now, Outcome: out, Event: Start}
	phase := "end"
	switch out.Result {
	case api.Done:
		m.Event = Success
	case api.Aborted:
		m.Event = Abort
	case api.Reverted:
		m.Event = Revert
	case api.HealthDown, api.HealthDegraded, api.HealthOK:
		m.Event, phase = Event(out.Result), "health"
	default:
		phase = "begin"
	}
	if out.Kind == api.CronKind {
		m.Event, phase = Cron, "cron-"+out.Command
	}
	// The ID does not contain the event. A daemon that was killed while it reported the end may
	// have known more about it than the next one.
	m.ID = fmt.Sprintf("%d-%s", out.Started.UnixNano(), phase)
	m.Outcome.Steps = slices.Clone(out.Steps)
	for i := range m.Outcome.Steps {
		m.Outcome.Steps[i].Output = nil // the history has the output of hooks
	}
	m.Text = m.sentence()
	return m
}

// sentence returns what a person on call needs to know.
func (m *Message) sentence() string {
	o := &m.Outcome
	if m.Run != nil {
		return m.runSentence()
	}
	if o.Kind == api.HealthKind {
		return m.App + m.healthSentence() + "."
	}
	if m.Event == Cron {
		after := ""
		if o.Seconds > 0 { // else it is not known
			after = ", after " + took(o.Seconds)
		}
		return fmt.Sprintf("%s: the scheduled command %s FAILED on %s: %s (in %s%s).", m.App, o.Command, m.Host,
			reason(o.Error), named(o.Release, o.Commit), after)
	}
	if o.Kind == string(api.Maintenance) {
		return m.App + ": " + m.maintenanceSentence() + "."
	}
	if o.Kind == string(api.Reload) {
		return m.App + ": " + m.reloadSentence() + "."
	}
	release, previous := named(o.Release, o.Commit), named(o.Previous, o.PreviousCommit)
	switch m.Event {
	case Start:
		return fmt.Sprintf("%s: switching to %s from %s (%s).", m.App, release, cmp.Or(previous, "nothing"), m.by())
	case Success:
		return fmt.Sprintf("%s: %s is live, replacing %s (%s, took %s).", m.App, release, cmp.Or(previous, "nothing"),
			m.by(), took(o.Seconds))
	case Revert:
		return fmt.Sprintf("%s: %s was REVERTED, %s: %s (%s, after %s).",
			m.App, release, isLive(previous, "live again"), reason(o.Error), m.by(), took(o.Seconds))
	default:
		return fmt.Sprintf("%s: %s was REFUSED, %s: %s (%s, after %s).",
			m.App, cmp.Or(release, "the "+o.Kind), isLive(previous,
				"still live"), reason(o.Error), m.by(), took(o.Seconds))
	}
}

// healthSentence describes a change of the app's health.
func (m *Message) healthSentence() string {
	o := &m.Outcome
	release := named(o.Release, o.Commit)
	switch m.Event {
	case OK:
		return fmt.Sprintf(" is ok again on %s: %s serves (the problem lasted %s)", m.Host, cmp.Or(release, "it"),
			took(o.Seconds))
	case Degraded:
		return fmt.Sprintf(" is degraded on %s, %s serves: %s", m.Host, cmp.Or(release, "it"), reason(o.Error))
	default:
		return fmt.Sprintf(" is DOWN on %s: %s", m.Host, reason(o.Error))
	}
}

// reloadSentence describes a reload: another config for the same release.
func (m *Message) reloadSentence() string {
	o := &m.Outcome
	release := named(cmp.Or(o.Previous, o.Release), cmp.Or(o.PreviousCommit, o.Commit))
	switch m.Event {
	case Start:
		return fmt.Sprintf("reloading the config with %s (%s)", release, m.by())
	case Success:
		return fmt.Sprintf("%s runs with the current config (%s, took %s)", release, m.by(), took(o.Seconds))
	case Revert:
		return fmt.Sprintf("the new config was REVERTED, %s runs with the previous one again: %s (%s, after %s)",
			release, reason(o.Error), m.by(), took(o.Seconds))
	default:
		return fmt.Sprintf("the new config was REFUSED, %s runs with the previous one: %s (%s, after %s)", release,
			reason(o.Error), m.by(), took(o.Seconds))
	}
}

// maintenanceSentence describes the beginning and the end of maintenance.
func (m *Message) maintenanceSentence() string {
	o := &m.Outcome
	on, release := o.Maintenance == api.MaintenanceOn, named(o.Release, o.Commit)
	switch {
	case m.Event == Success && on:
		return fmt.Sprintf("users get the maintenance page (%s)", m.by())
	case m.Event == Success:
		return fmt.Sprintf("maintenance is over, users reach %s (%s)", release, m.by())
	case on:
		return fmt.Sprintf("the maintenance page could not be shown, users reach %s: %s (%s)", release, reason(o.Error), m.by())
	default:
		return fmt.Sprintf("users STILL GET the maintenance page: %s (%s)", reason(o.Error), m.by())
	}
}

// by returns who requested which change, and where.
func (m *Message) by() string {
	run := ""
	if m.Outcome.Run != "" {
		run = ", run " + m.Outcome.Run
	}
	return fmt.Sprintf("%s by %s, on %s%s", m.Outcome.Kind, cmp.Or(m.who(), "an unknown user"), m.Host, run)
}

// text returns the sentence, with its time if that is not recent.
func (m *Message) text(now time.Time) string {
	if now.Sub(m.Time) < lateAfter {
		return m.Text
	}
	return m.Text + " This was at " + m.Time.UTC().Format("2006-01-02 15:04:05 MST") + "; it could not be sent before."
}

// testMessage returns a message that tests a target.
func testMessage(app, host, target string, now time.Time) *Message {
	return &Message{
		ID: fmt.Sprintf("%d-test", now.UnixNano()), Event: Test, App: app, Host: host, Time: now,
		Text:    fmt.Sprintf("%s: this is a test of notify.%s on %s. Nothing was changed.", app, target, host),
		Outcome: api.Outcome{Kind: "test", Started: now, Steps: []api.Step{}},
	}
}

// title returns a few words for a subject line.
func (m *Message) title() string {
	if m.Event == Test {
		return m.App + ": a test"
	}
	if m.Event == Cron {
		return m.App + ": " + m.Outcome.Command + " failed"
	}
	if m.Outcome.Kind == string(api.Maintenance) && m.Event == Success {
		return m.App + ": maintenance " + m.Outcome.Maintenance
	}
	if m.Outcome.Kind == api.HealthKind {
		return m.App + map[Event]string{Down: " is down", Degraded: " is degraded", OK: " is ok again"}[m.Event]
	}
	what := map[Event]string{
		Start: "begins", Success: "succeeded", Abort: "was refused", Revert: "was reverted",
	}[m.Event]
	to := "to"
	if m.Outcome.Kind == string(api.Reload) {
		to = "of"
	}
	return fmt.Sprintf("%s: %s %s %s %s", m.App, m.Outcome.Kind, to, cmp.Or(m.Outcome.Release, "?"), what)
}

// live returns the release that is live after an event, or "".
func (m *Message) live() (release, commit string) {
	if m.Event == Success || m.Event == Cron || m.Outcome.Kind == api.HealthKind {
		return m.Outcome.Release, m.Outcome.Commit
	}
	return m.Outcome.Previous, m.Outcome.PreviousCommit
}

// who returns who requested the change, and from where.
func (m *Message) who() string { return m.Outcome.By(m.Outcome.Who) }

func isLive(release, how string) string {
	if release == "" {
		return "nothing is live"
	}
	return release + " is " + how
}

func named(release, commit string) string {
	if commit == "" || release == commit {
		return release
	}
	return release + " (" + commit[:min(len(commit), 10)] + ")"
}

// reason returns an error on one line.
func reason(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > errorLimit {
		text = string(runes[:errorLimit]) + "..."
	}
	return strings.TrimSuffix(text, ".")
}

func took(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%d ms", int(seconds*1000))
	case seconds < 60:
		return fmt.Sprintf("%.1f s", seconds)
	default:
		return fmt.Sprintf("%d min %d s", int(seconds)/60, int(seconds)%60)
	}
}
