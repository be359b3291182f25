//go:build linux

package web

import (
	"math"
	"slices"
	"time"

	"superctl/api"
	"superctl/host"
)

// What is kept of an app, for the charts.
const (
	keep     = 10 * time.Minute
	between  = 2 * time.Second // from one point of a chart to the next: a bad release may be live for a few seconds
	maxLines = 6               // generations with points
	maxMarks = 20
	// within which a cutover that was seen is the one that the history tells of
	sameMark = 15 * time.Second
	// how long a history that could not be asked for is not asked for again
	historyRetry = 30 * time.Second
)

// record is what is kept of one app.
type record struct {
	name    string // that the daemon gave last; "" = none has answered
	rates   host.Rates
	lines   []*line // oldest first
	marks   []mark  // oldest first
	live    int     // the generation that was live when it was asked last
	counted bool    // it has been asked before
	pointAt time.Time

	changes []changeView
	problem string // why there are no changes
	total   uint64 // of changes when the history was asked for
	askedAt time.Time
	renewed bool // the changes are new in this event
}

// line is what the users of one generation have got.
type line struct {
	generation int
	release    string
	points     []point
	fresh      int       // how many of the points are new in this event
	last       figures   // while it was live, a canary or a control
	until      time.Time // it was that; zero = never, or its requests are not counted
	present    bool      // it exists
}

// point is a moment of a chart: milliseconds since 1970, requests per second, the share that failed,
// p50 and p99 in seconds (0 = unknown).
type point [5]float64

// figures are the rates of a generation. nil = unknown.
type figures struct {
	Rate   *float64 `json:"rate,omitempty"`   // requests per second
	Failed *float64 `json:"failed,omitempty"` // share, from 0 to 1
	P50    *float64 `json:"p50,omitempty"`    // seconds
	P99    *float64 `json:"p99,omitempty"`
}

// mark is a moment at which new connections began to reach another release.
type mark struct {
	At       int64  `json:"at"`
	Release  string `json:"release"`
	Reverted bool   `json:"reverted,omitempty"` // they went back to it
	observed bool   // seen from here, and not told by the history
}

// call has an app keep its name while its daemon does not answer: without a config in /etc/superctl there
// is only the name of the socket then, and the page would show another app.
func (r *record) call(a *host.App) {
	if a.Status != nil {
		r.name = a.Name
	} else if r.name != "" {
		a.Name = r.name
	}
}

// add adds what the daemon of the app has said.
func (r *record) add(at time.Time, a *host.Measured) {
	for _, l := range r.lines {
		l.fresh, l.present = 0, false
	}
	r.renewed = false
	if a.Status == nil {
		r.rates = host.Rates{} // what is counted next may be another daemon's
	} else {
		r.rates.Add(at, &a.Measures)
		r.observe(at, a.Status)
		r.addPoints(at, a.Status)
	}
	r.trim(at)
}

// observe marks that another generation is live. The history has the exact moment once the change has
// ended.
func (r *record) observe(at time.Time, st *api.Status) {
	if r.counted && r.live != st.Generation && st.Generation != 0 {
		back := st.Generation < r.live
		r.marks = append(r.marks, mark{At: at.UnixMilli(), Release: st.Release, Reverted: back, observed: true})
	}
	r.live, r.counted = st.Generation, true
}

// addPoints adds a point for each generation whose requests are counted.
func (r *record) addPoints(at time.Time, st *api.Status) {
	isPoint := at.Sub(r.pointAt) >= between
	for i := len(st.Generations) - 1; i >= 0; i-- { // the newest is first
		g := &st.Generations[i]
		l := r.line(g)
		l.present = true
		state, _ := host.Role(st, g)
		serves := state == string(api.Live) || state == host.Canary || state == host.Control
		if serves && counted(g, l) {
			l.until = at
		}
		rate, known := r.rates.Of(g.ID) // from its second event on
		if !known || g.Requests == nil {
			continue
		}
		if serves {
			l.last = figuresOf(rate)
		}
		if isPoint {
			l.points = append(l.points, point{
				float64(at.UnixMilli()), rounded(rate.PerSecond), rounded(rate.Failed), rounded(rate.P50.Seconds()), rounded(rate.P99.Seconds()),
			})
			l.fresh++
			r.pointAt = at
		}
	}
}

// line returns the line of a generation, which may be new.
func (r *record) line(g *api.GenerationStatus) *line {
	for _, l := range r.lines {
		if l.generation == g.ID {
			return l
		}
	}
	l := &line{generation: g.ID, release: g.Release}
	r.lines = append(r.lines, l)
	return l
}

// trim forgets what is older than the charts show, and limits what a loop of changes can leave.
func (r *record) trim(at time.Time) {
	from := at.Add(-keep).UnixMilli()
	for _, l := range r.lines {
		old := 0
		for old < len(l.points) && int64(l.points[old][0]) < from {
			old++
		}
		l.points = slices.Delete(l.points, 0, old)
	}
	r.lines = slices.DeleteFunc(r.lines, func(l *line) bool {
		// A canary may have had connections for too short a time for a point.
		return !l.present && len(l.points) == 0 && l.until.UnixMilli() < from
	})
	r.lines = slices.Delete(r.lines, 0, max(0, len(r.lines)-maxLines))
	r.marks = slices.DeleteFunc(r.marks, func(m mark) bool { return m.At < from })
	r.marks = slices.Delete(r.marks, 0, max(0, len(r.marks)-maxMarks))
}

// historyIsOld reports whether the history has to be asked for.
func (r *record) historyIsOld(at time.Time, m *api.Measures) bool {
	if r.askedAt.IsZero() || r.total != total(m) {
		return true
	}
	return r.problem != "" && at.Sub(r.askedAt) >= historyRetry
}

func (r *record) setHistory(at time.Time, m *api.Measures, list []api.PastChange, err error) {
	r.askedAt, r.total, r.renewed = at, total(m), true
	if err != nil {
		r.changes, r.problem = nil, err.Error()
		return
	}
	r.changes, r.problem = changeViews(list), ""
	marks := marksOf(list)
	for _, m := range r.marks {
		told := slices.ContainsFunc(marks, func(exact mark) bool {
			return exact.Release == m.Release && math.Abs(float64(exact.At-m.At)) < float64(sameMark.Milliseconds())
		})
		if m.observed && !told {
			marks = append(marks, m)
		}
	}
	slices.SortFunc(marks, func(a, b mark) int { return int(a.At - b.At) })
	r.marks = marks
	r.trim(at)
}

// marksOf returns the cutovers of changes, and their reverts.
func marksOf(list []api.PastChange) (marks []mark) {
	for i := range list {
		c := &list[i]
		for _, s := range c.Steps {
			at := s.Began.Add(time.Duration(s.Seconds * float64(time.Second))).UnixMilli()
			switch s.Name {
			case api.StepCutover:
				marks = append(marks, mark{At: at, Release: c.Release})
			case api.StepRevert:
				marks = append(marks, mark{At: at, Release: c.Previous, Reverted: true})
			}
		}
	}
	return marks
}

func figuresOf(rate host.Rate) figures {
	f := figures{Rate: new(rounded(rate.PerSecond))}
	if rate.PerSecond > 0 {
		f.Failed = new(rounded(rate.Failed))
	}
	if rate.P50 > 0 {
		f.P50, f.P99 = new(rounded(rate.P50.Seconds())), new(rounded(rate.P99.Seconds()))
	}
	return f
}

// rounded rounds to what a chart can show, so that an event is short.
func rounded(f float64) float64 { return math.Round(f*1e5) / 1e5 }
