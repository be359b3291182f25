//go:build linux

package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"superctl/api"
	"superctl/host"
)

// Limits on the log of a failed change, which workers write.
const (
	maxLogLines = 40
	maxLogLine  = 2000 // bytes
)

// appView is what a page shows of an app.
type appView struct {
	Key       string        `json:"key"` // tells apps of the same name apart
	Name      string        `json:"name"`
	Health    string        `json:"health"`
	Reason    string        `json:"reason,omitempty"` // why it is not well
	Troubles  []string      `json:"troubles,omitempty"`
	Release   string        `json:"release,omitempty"`
	Commit    string        `json:"commit,omitempty"`
	LiveSince int64         `json:"live_since,omitempty"`
	LiveBy    string        `json:"live_by,omitempty"`
	Changing  *changingView `json:"changing,omitempty"`
	Lock      string        `json:"lock,omitempty"`
	Verdict   string        `json:"verdict,omitempty"` // how the newest change ended, and what the guard says
	Releases  []releaseView `json:"releases,omitempty"`
	Uncounted []string      `json:"uncounted,omitempty"` // processes whose requests are not counted, and why
	Lines     []lineView    `json:"lines,omitempty"`
	Marks     []mark        `json:"marks,omitempty"`
	// nil = as before
	Changes *historyView `json:"changes,omitempty"`
}

type changingView struct {
	Kind    string  `json:"kind"`
	Release string  `json:"release"`
	Who     string  `json:"who"`
	Step    string  `json:"step"`
	Share   float64 `json:"share,omitempty"` // of the canary, percent
	Since   int64   `json:"since"`
}

// releaseView is a generation: one that exists, or one of the last ten minutes.
type releaseView struct {
	Generation int     `json:"generation"`
	Release    string  `json:"release"`
	State      string  `json:"state"` // of api and host, or "ended"
	Share      float64 `json:"share,omitempty"`
	Counted    bool    `json:"counted"` // false: it is known that its requests are not
	figures
	// when the figures ended: when it got its last new connections; 0 = they are of now
	Until    int64   `json:"until,omitempty"`
	InFlight *uint64 `json:"in_flight,omitempty"`
	Memory   uint64  `json:"memory,omitempty"` // bytes
	Restarts *int    `json:"restarts,omitempty"`
}

type lineView struct {
	Generation int     `json:"generation"`
	Release    string  `json:"release"`
	Points     []point `json:"points"`
}

type historyView struct {
	Problem string       `json:"problem,omitempty"`
	List    []changeView `json:"list"`
}

// changeView is one change of the history.
type changeView struct {
	Number   int      `json:"number"`
	Kind     string   `json:"kind"`
	Result   string   `json:"result"`
	Release  string   `json:"release"`
	Previous string   `json:"previous"`
	Who      string   `json:"who"`
	Started  int64    `json:"started"`
	Seconds  float64  `json:"seconds"`
	Error    string   `json:"error,omitempty"`
	Guard    string   `json:"guard,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Culprit  string   `json:"culprit,omitempty"` // whose log it is
	Log      []string `json:"log,omitempty"`     // its last lines
}

// view returns what a page shows of the app. With whole it has all points, and not only new ones.
func (r *record) view(a *host.Measured, whole bool) appView {
	v := appView{Key: a.Control, Name: a.Name, Health: a.Health(), Reason: a.Error, Marks: r.marks}
	if st := a.Status; st != nil {
		v.describe(st)
		for i := range st.Generations {
			v.Releases = append(v.Releases, r.present(st, &st.Generations[i]))
		}
		v.Uncounted = uncounted(st)
	}
	for _, l := range slices.Backward(r.lines) {
		if !l.present {
			v.Releases = append(v.Releases, releaseView{
				Generation: l.generation, Release: l.release, State: "ended", Counted: true, figures: l.last, Until: milliseconds(l.until),
			})
		}
	}
	for _, l := range r.lines {
		points := l.points
		if !whole {
			points = points[len(points)-min(l.fresh, len(points)):]
		}
		v.Lines = append(v.Lines, lineView{l.generation, l.release, append([]point{}, points...)})
	}
	if whole || r.renewed {
		v.Changes = &historyView{Problem: r.problem, List: r.changes}
	}
	return v
}

// describe adds what the status says of the whole app.
func (v *appView) describe(st *api.Status) {
	v.Reason, v.Release, v.LiveBy = st.Reason, st.Release, st.LiveBy
	v.Commit = st.Commit[:min(10, len(st.Commit))]
	v.LiveSince = milliseconds(liveSince(st))
	for _, t := range st.Troubles {
		if t.Why != st.Reason {
			v.Troubles = append(v.Troubles, t.Of+": "+t.Why)
		}
	}
	if st.Lock != nil {
		v.Lock = st.Lock.String()
	}
	if ch := st.Changing; ch != nil {
		v.Changing = &changingView{
			Kind: ch.Kind, Release: ch.Release, Who: ch.By(ch.Who), Step: ch.Step, Since: milliseconds(ch.Since),
		}
		if ch.Canary != nil {
			v.Changing.Share = ch.Canary.Share
		}
	}
	v.Verdict = verdict(st.Last)
}

func liveSince(st *api.Status) time.Time {
	for i := range st.Generations {
		if g := &st.Generations[i]; st.LiveSince.IsZero() && g.ID == st.Generation {
			return g.Since
		}
	}
	return st.LiveSince
}

// present returns a generation that exists.
func (r *record) present(st *api.Status, g *api.GenerationStatus) releaseView {
	l := r.line(g)
	v := releaseView{Generation: g.ID, Release: g.Release, Memory: g.MemoryBytes, Restarts: new(0)}
	v.Counted = counted(g, l)
	v.State, v.Share = host.Role(st, g)
	for i := range g.Workers {
		*v.Restarts += g.Workers[i].Restarts
	}
	if g.Requests != nil {
		v.InFlight = &g.Requests.InFlight
	}
	switch rate, known := r.rates.Of(g.ID); {
	case v.State == string(api.Draining) || v.State == string(api.Standby):
		v.figures, v.Until = l.last, milliseconds(l.until)
	case known && g.Requests != nil:
		v.figures = figuresOf(rate)
	}
	return v
}

// counted reports whether the requests of a generation are counted, or may be: its workers start, and it is
// not known yet, or they have ended.
func counted(g *api.GenerationStatus, l *line) bool {
	return g.Requests != nil || len(l.points) > 0 || len(g.Uncounted) == 0
}

// uncounted returns the processes whose requests are not counted, and why.
func uncounted(st *api.Status) (list []string) {
	for i := range st.Generations {
		for _, u := range st.Generations[i].Uncounted {
			server := u.Server
			if server == "" || server == "generic" {
				server = "unknown server"
			}
			if text := u.Process + " (" + server + ")"; !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	return list
}

// verdict says how a change ended, and what the guard says of its release.
func verdict(o *api.Outcome) string {
	if o == nil {
		return ""
	}
	text := fmt.Sprintf("%s to %s: %s", o.Kind, o.Release, o.Result)
	if o.Release == "" {
		text = fmt.Sprintf("%s: %s", o.Kind, o.Result)
	}
	if o.Error != "" {
		return text + ". " + o.Error
	}
	if guard := guardText(o.Guard); guard != "" {
		text += ". Guard: " + guard
	}
	return text
}

// guardText says what the guard has seen of each process.
func guardText(reports []api.GuardReport) string {
	var parts []string
	for i := range reports {
		r := &reports[i]
		text := r.Process + ": "
		if r.Verdict == api.Worse || r.Verdict == api.NoWorse {
			text += string(r.Verdict) + ", "
		}
		text += r.String()
		if r.Of == "" && r.OldRequests > 0 && (r.Verdict == api.Worse || r.Verdict == api.NoWorse) {
			text += fmt.Sprintf(", before %d of %d", r.OldErrors, r.OldRequests)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func changeViews(list []api.PastChange) []changeView {
	views := make([]changeView, 0, len(list))
	for i := range list {
		c := &list[i]
		v := changeView{
			Number: c.Number, Kind: c.Kind, Result: string(c.Result), Release: c.Release, Previous: c.Previous,
			Who: c.By(c.Who), Started: milliseconds(c.Started), Seconds: c.Seconds, Error: c.Error,
			Guard: guardText(c.Guard), Warnings: c.Warnings,
		}
		if c.Result != api.Done {
			v.Culprit, v.Log = string(c.Culprit), shortened(c.Log)
		}
		views = append(views, v)
	}
	return views
}

// shortened returns the last lines of a log, none of them too long.
func shortened(log []string) []string {
	var lines []string
	for _, l := range log[max(0, len(log)-maxLogLines):] {
		if len(l) > maxLogLine {
			l = strings.ToValidUTF8(l[:maxLogLine], "") + " ..."
		}
		lines = append(lines, l)
	}
	return lines
}

// milliseconds returns a time as the page counts it; 0 for the zero time.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
