package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"superctl/api"
)

// Event is what a message is about.
type Event string

// The events.
const (
	Start    Event = "start"    // a switch, a rollback or a reload begins its work
	Success  Event = "success"  // and has ended well
	Abort    Event = "abort"    // or was refused, or failed: what was live still is
	Revert   Event = "revert"   // or was live, and was taken back
	Down     Event = "down"     // nobody answers on a listener, or what should be live is not
	Degraded Event = "degraded" // it serves, and something does not stay up or needs a hand
	OK       Event = "ok"       // the trouble that was told is over
	Test     Event = "test"     // somebody tries whether a message arrives; no change
)

// Events is all of those that changes and the health of an app have.
func Events() []Event { return []Event{Start, Success, Abort, Revert, Down, Degraded, OK} }

// Message is one event of one change. It is what waits in the outbox, and what a webhook gets.
type Message struct {
	ID      string      `json:"id"` // the same for the same event of the same change
	Event   Event       `json:"event"`
	App     string      `json:"app"`
	Host    string      `json:"host"`
	Time    time.Time   `json:"time"`
	Text    string      `json:"text"`
	Outcome api.Outcome `json:"outcome"` // at a start: what is known of it
}

// errorLimit is how much of an error a sentence has; some are a whole page.
const errorLimit = 500

// lateAfter is when a message says that it is not news any more.
const lateAfter = 10 * time.Minute

// newMessage makes the message for what the supervisor has told of a change.
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
	// Not the event: a daemon that was killed as it told of the end may know less of it than the one before.
	m.ID = fmt.Sprintf("%d-%s", out.Started.UnixNano(), phase)
	m.Outcome.Steps = slices.Clone(out.Steps)
	for i := range m.Outcome.Steps {
		m.Outcome.Steps[i].Output = nil // what hooks wrote is in the history
	}
	m.Text = m.sentence()
	return m
}

// sentence says all that somebody needs who is woken by it.
func (m *Message) sentence() string {
	o := &m.Outcome
	if o.Kind == api.HealthKind {
		return m.App + m.ofHealth() + "."
	}
	if o.Kind == string(api.Reload) {
		return m.App + ": " + m.ofReload() + "."
	}
	release, previous := named(o.Release, o.Commit), named(o.Previous, o.PreviousCommit)
	switch m.Event {
	case Start:
		return fmt.Sprintf("%s: going to %s, from %s (%s).", m.App, release, cmp.Or(previous, "nothing"), m.by())
	case Success:
		return fmt.Sprintf("%s: %s is live, before it was %s (%s, took %s).", m.App, release, cmp.Or(previous, "nothing"), m.by(), took(o.Seconds))
	case Revert:
		return fmt.Sprintf("%s: %s was live and was TAKEN BACK, %s: %s (%s, after %s).",
			m.App, release, isLive(previous, "again"), reason(o.Error), m.by(), took(o.Seconds))
	default:
		return fmt.Sprintf("%s: %s was REFUSED, %s: %s (%s, after %s).",
			m.App, cmp.Or(release, "the "+o.Kind), isLive(previous, "still"), reason(o.Error), m.by(), took(o.Seconds))
	}
}

// ofHealth is the sentence of what becomes of an app without anybody's doing.
func (m *Message) ofHealth() string {
	o := &m.Outcome
	release := named(o.Release, o.Commit)
	switch m.Event {
	case OK:
		return fmt.Sprintf(" is ok again on %s: %s serves (the trouble took %s)", m.Host, cmp.Or(release, "it"), took(o.Seconds))
	case Degraded:
		return fmt.Sprintf(" is degraded on %s, %s serves: %s", m.Host, cmp.Or(release, "it"), reason(o.Error))
	default:
		return fmt.Sprintf(" is DOWN on %s: %s", m.Host, reason(o.Error))
	}
}

// ofReload is the sentence of a change to another config of the same release.
func (m *Message) ofReload() string {
	o := &m.Outcome
	release := named(cmp.Or(o.Previous, o.Release), cmp.Or(o.PreviousCommit, o.Commit))
	switch m.Event {
	case Start:
		return fmt.Sprintf("reading the config anew with %s (%s)", release, m.by())
	case Success:
		return fmt.Sprintf("%s runs with the config as it is now (%s, took %s)", release, m.by(), took(o.Seconds))
	case Revert:
		return fmt.Sprintf("the config was in use and was TAKEN BACK, %s runs with the one before again: %s (%s, after %s)", release, reason(o.Error), m.by(), took(o.Seconds))
	default:
		return fmt.Sprintf("the config was REFUSED, %s runs with the one before: %s (%s, after %s)", release, reason(o.Error), m.by(), took(o.Seconds))
	}
}

// by is who has asked for what, and where.
func (m *Message) by() string {
	return fmt.Sprintf("%s by %s, on %s", m.Outcome.Kind, cmp.Or(m.who(), "somebody"), m.Host)
}

// text is the sentence, and when it was true if that is not just now.
func (m *Message) text(now time.Time) string {
	if now.Sub(m.Time) < lateAfter {
		return m.Text
	}
	return m.Text + " This was at " + m.Time.UTC().Format("2006-01-02 15:04:05 MST") + "; it could not be sent before."
}

// testMessage is one by which a target is tried.
func testMessage(app, host, target string, now time.Time) *Message {
	return &Message{
		ID: fmt.Sprintf("%d-test", now.UnixNano()), Event: Test, App: app, Host: host, Time: now,
		Text:    fmt.Sprintf("%s: this is a test of notify.%s on %s. Nothing was changed.", app, target, host),
		Outcome: api.Outcome{Kind: "test", Started: now, Steps: []api.Step{}},
	}
}

// title is a few words, where there is room for a title.
func (m *Message) title() string {
	if m.Event == Test {
		return m.App + ": a test"
	}
	if m.Outcome.Kind == api.HealthKind {
		return m.App + map[Event]string{Down: " is down", Degraded: " is degraded", OK: " is ok again"}[m.Event]
	}
	what := map[Event]string{Start: "begins", Success: "succeeded", Abort: "was refused", Revert: "was taken back"}[m.Event]
	to := "to"
	if m.Outcome.Kind == string(api.Reload) {
		to = "of"
	}
	return fmt.Sprintf("%s: %s %s %s %s", m.App, m.Outcome.Kind, to, cmp.Or(m.Outcome.Release, "?"), what)
}

// live is the release that serves after an event, and "" when there is none.
func (m *Message) live() (release, commit string) {
	if m.Event == Success || m.Outcome.Kind == api.HealthKind {
		return m.Outcome.Release, m.Outcome.Commit
	}
	return m.Outcome.Previous, m.Outcome.PreviousCommit
}

// who has asked for the change, and from where.
func (m *Message) who() string { return m.Outcome.By(m.Outcome.Who) }

func isLive(release, how string) string {
	if release == "" {
		return "nothing is live"
	}
	return release + " is live " + how
}

func named(release, commit string) string {
	if commit == "" || release == commit {
		return release
	}
	return release + " (" + commit[:min(len(commit), 10)] + ")"
}

// reason is an error on one line.
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
