package drill

import (
	"fmt"
	"slices"
	"time"

	"superctl/load"
)

// Report is what a drill has found; its JSON is the contract of `drill --json`.
type Report struct {
	App     string    `json:"app"`
	Version string    `json:"version"` // of superctl
	Mode    string    `json:"mode"`    // "copy" or "live"
	Address string    `json:"address"` // that the load was sent to
	Server  string    `json:"server"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // of load

	OK      bool   `json:"ok"` // nothing was lost, and every promise was kept
	Verdict string `json:"verdict"`

	Load           LoadReport     `json:"load"`
	Sent           int            `json:"sent"`
	Lost           int            `json:"lost"`             // without those in the killed worker
	InKilledWorker int            `json:"in_killed_worker"` // lost with a worker that got SIGKILL while it had them
	Failed         map[string]int `json:"failed"`           // all that failed, by kind
	Steady         Latency        `json:"steady"`
	During         Latency        `json:"during_changes"`

	Changes        []ChangeReport `json:"changes"`
	Losses         []Loss         `json:"losses"`
	BrokenPromises []string       `json:"broken_promises"`
	Notes          []string       `json:"notes"`

	result *load.Result
	apart  map[int]bool // which of the failed requests, in their order, were in the killed worker
}

// LoadReport is what was sent.
type LoadReport struct {
	Requests       []string `json:"requests"` // such as "GET /"
	Rate           float64  `json:"rate"`     // a second, as it was wanted
	Sent           float64  `json:"sent"`     // a second, as it was
	Clients        int      `json:"clients"`
	KeepAlive      bool     `json:"keep_alive"`
	TimeoutSeconds float64  `json:"timeout_seconds"`
}

// Latency is how long requests took, from the moment when each was due.
type Latency struct {
	Requests int     `json:"requests"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	P999     float64 `json:"p999_ms"`
	Slowest  float64 `json:"slowest_ms"`
}

// ChangeReport is one thing that was done to the app, and what its users noticed of it.
type ChangeReport struct {
	Kind           string    `json:"kind"`
	What           string    `json:"what"`
	Began          time.Time `json:"began"`
	At             float64   `json:"at_seconds"` // since the load began
	Seconds        float64   `json:"seconds"`    // until nothing of it went on
	Detail         string    `json:"detail,omitempty"`
	OK             bool      `json:"ok"` // it went as it must
	Error          string    `json:"error,omitempty"`
	Requests       int       `json:"requests"` // under way meanwhile
	Lost           int       `json:"lost"`
	InKilledWorker int       `json:"in_killed_worker,omitempty"`
	Slowest        float64   `json:"slowest_ms"`
}

// Loss is requests that were lost alike: in the same change, at the same point of it, in the same way.
type Loss struct {
	Change     string  `json:"change"` // "" = in none
	Number     int     `json:"number"` // of the change, from 1; 0 = in none
	Phase      string  `json:"phase"`  // of the change
	Kind       string  `json:"kind"`
	Connection string  `json:"connection"` // "new" or "kept"
	Midway     bool    `json:"midway"`     // the server had it for a while
	Count      int     `json:"count"`
	First      float64 `json:"first_seconds"` // since the load began
	Last       float64 `json:"last_seconds"`
	Example    string  `json:"example"`
	Cause      string  `json:"cause"`
	Advice     string  `json:"advice"`

	InKilledWorker bool `json:"in_killed_worker,omitempty"` // counted apart
}

// Group is losses of the same kind and cause.
type Group struct {
	Loss // the first of them; Count is of all
	Each []Loss
}

// What says of a group how its requests ended.
func (g *Group) What() string {
	if g.InKilledWorker {
		return "their connections ended with it"
	}
	return fmt.Sprintf("%s, on %s connections", g.Kind, g.Connection)
}

// Groups are the losses, those of the same kind and cause together.
func (r *Report) Groups() (groups []*Group) {
	for _, l := range r.Losses {
		i := slices.IndexFunc(groups, func(g *Group) bool {
			alike := g.Kind == l.Kind && g.Connection == l.Connection || l.InKilledWorker
			return alike && g.Cause == l.Cause && g.Advice == l.Advice && g.InKilledWorker == l.InKilledWorker
		})
		if i < 0 {
			groups = append(groups, &Group{Loss: l, Each: []Loss{l}})
			continue
		}
		groups[i].Count += l.Count
		groups[i].Each = append(groups[i].Each, l)
	}
	return groups
}

// lag is how much later than due half of the requests may begin before the load is more than the app can bear.
const lag = 100 * time.Millisecond

// judge makes the report.
func (d *drill) judge(res *load.Result) *Report {
	o := &d.opt
	t := d.site.target()
	rep := &Report{
		App: o.Config.App, Version: o.Version, Mode: "copy", Address: t.String(), Server: o.Server.Name, Began: res.Began,
		Seconds: res.Ended.Sub(res.Began).Seconds(), Sent: len(res.Records), Failed: make(map[string]int),
		Changes: []ChangeReport{}, Losses: []Loss{}, BrokenPromises: append([]string{}, d.broken...), Notes: append([]string{}, d.notes...), result: res, apart: make(map[int]bool),
	}
	if o.Live {
		rep.Mode = "live"
	}
	rep.Load = LoadReport{Rate: o.Load.Rate, Sent: float64(rep.Sent) / rep.Seconds, Clients: o.Load.Clients, KeepAlive: o.Load.KeepAlive, TimeoutSeconds: o.Load.Timeout.Seconds()}
	for _, s := range res.Shapes {
		rep.Load.Requests = append(rep.Load.Requests, s.Name)
	}
	for kind, n := range res.Count() {
		if kind != load.None {
			rep.Failed[kind.String()] = n
		}
	}
	j := &judge{changes: d.changes, server: o.Server, process: o.Process, proxy: t.Proxy, live: o.Live, patient: o.Config.Probation, rep: rep}
	j.losses(res)
	j.figures(res)
	if delay := res.Lag(); delay > lag {
		rep.Notes = append(rep.Notes, fmt.Sprintf("the app did not keep up with %g requests a second over %d connections: half of them had to wait for %s until they were sent, and their latencies tell of that; lower --rate, or raise --clients",
			o.Load.Rate, o.Load.Clients, delay.Round(time.Millisecond)))
	}
	if res.LimitReached {
		rep.BrokenPromises = append(rep.BrokenPromises, fmt.Sprintf("the load ended by itself after %d requests, before the drill did: lower --rate or --switches", rep.Sent))
	}
	rep.conclude()
	return rep
}

// figures fills in the latencies, and what was noticed of each change.
func (j *judge) figures(res *load.Result) {
	var windows []load.Window
	for i := range j.changes {
		c := &j.changes[i]
		windows = append(windows, c.window)
		part := res.During(c.window)
		report := &j.rep.Changes[i]
		report.Requests, report.Slowest = len(part.Records), ms(part.Latency().Max)
	}
	j.rep.Steady, j.rep.During = latency(res.Outside(windows...)), latency(res.During(windows...))
}

func latency(res *load.Result) Latency {
	l := res.Latency()
	return Latency{len(res.Records), ms(l.P50), ms(l.P99), ms(l.P999), ms(l.Max)}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// conclude says what all of it comes to, in one sentence.
func (r *Report) conclude() {
	r.OK = r.Lost == 0 && len(r.BrokenPromises) == 0 && r.Sent > 0
	changes := fmt.Sprintf("%d changes", len(r.Changes))
	if len(r.Changes) == 1 {
		changes = "1 change"
	}
	switch {
	case r.Sent == 0:
		r.Verdict = "no request was sent, so nothing is proved"
	case r.Lost > 0:
		r.Verdict = fmt.Sprintf("%s of %d %s lost, in %s", requests(r.Lost), r.Sent, were(r.Lost), changes)
	case len(r.BrokenPromises) > 0:
		r.Verdict = fmt.Sprintf("no request of %d was lost in %s, but %s", r.Sent, changes, promises(len(r.BrokenPromises)))
	default:
		r.Verdict = fmt.Sprintf("no request of %d was lost, in %s", r.Sent, changes)
	}
	if r.InKilledWorker > 0 {
		r.Verdict += fmt.Sprintf("; %d more %s in the worker that was killed, which nobody can save", r.InKilledWorker, were(r.InKilledWorker))
	}
}

func requests(n int) string {
	if n == 1 {
		return "1 request"
	}
	return fmt.Sprintf("%d requests", n)
}

func were(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func promises(n int) string {
	if n == 1 {
		return "a promise was broken"
	}
	return fmt.Sprintf("%d promises were broken", n)
}
