package drill

import (
	"fmt"
	"slices"
	"time"

	"superctl/load"
)

// Report is the result of a drill; its JSON is the contract of `drill --json`.
type Report struct {
	App     string    `json:"app"`
	Version string    `json:"version"` // of superctl
	Mode    string    `json:"mode"`    // "copy" or "live"
	Address string    `json:"address"` // where the load was sent
	Server  string    `json:"server"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // duration of the load

	OK      bool   `json:"ok"` // no request was lost, and no promise was broken
	Verdict string `json:"verdict"`

	Load           LoadReport     `json:"load"`
	Sent           int            `json:"sent"`
	Lost           int            `json:"lost"`             // without those in the killed worker
	InKilledWorker int            `json:"in_killed_worker"` // lost with a worker that got SIGKILL
	Failed         map[string]int `json:"failed"`           // all failed requests, by kind
	Steady         Latency        `json:"steady"`
	During         Latency        `json:"during_changes"`

	Changes        []ChangeReport `json:"changes"`
	Losses         []Loss         `json:"losses"`
	BrokenPromises []string       `json:"broken_promises"`
	Notes          []string       `json:"notes"`

	result   *load.Result
	separate map[int]bool // failed requests, by their index, that were in the killed worker
}

// LoadReport describes the load.
type LoadReport struct {
	Requests       []string `json:"requests"` // such as "GET /"
	Rate           float64  `json:"rate"`     // requested rate per second
	Sent           float64  `json:"sent"`     // actual rate per second
	Clients        int      `json:"clients"`
	KeepAlive      bool     `json:"keep_alive"`
	TimeoutSeconds float64  `json:"timeout_seconds"`
}

// Latency is the distribution of latencies, from the moment at which a request was due.
type Latency struct {
	Requests int     `json:"requests"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	P999     float64 `json:"p999_ms"`
	Slowest  float64 `json:"slowest_ms"`
}

// ChangeReport is a change of the app, and its effect on requests.
type ChangeReport struct {
	Kind           string    `json:"kind"`
	What           string    `json:"what"`
	Began          time.Time `json:"began"`
	At             float64   `json:"at_seconds"` // since the load began
	Seconds        float64   `json:"seconds"`    // until all its effects had ended
	Detail         string    `json:"detail,omitempty"`
	OK             bool      `json:"ok"` // it succeeded
	Error          string    `json:"error,omitempty"`
	Requests       int       `json:"requests"` // that ran meanwhile
	Lost           int       `json:"lost"`
	InKilledWorker int       `json:"in_killed_worker,omitempty"`
	Slowest        float64   `json:"slowest_ms"`
}

// Loss is a group of requests that were lost in the same change, at the same point and in the same
// way.
type Loss struct {
	Change     string  `json:"change"` // "" = between the changes
	Number     int     `json:"number"` // of the change, from 1; 0 = between the changes
	Phase      string  `json:"phase"`  // of the change
	Kind       string  `json:"kind"`
	Connection string  `json:"connection"` // "new" or "kept"
	Midway     bool    `json:"midway"`     // the server had been working on it
	Count      int     `json:"count"`
	First      float64 `json:"first_seconds"` // since the load began
	Last       float64 `json:"last_seconds"`
	Example    string  `json:"example"`
	Cause      string  `json:"cause"`
	Advice     string  `json:"advice"`

	InKilledWorker bool `json:"in_killed_worker,omitempty"` // counted separately
}

// Group is the losses with the same kind and cause.
type Group struct {
	Loss // the first one; Count is the sum
	Each []Loss
}

// What describes how the requests of a group ended.
func (g *Group) What() string {
	if g.InKilledWorker {
		return "their connections ended with it"
	}
	return fmt.Sprintf("%s, on %s connections", g.Kind, g.Connection)
}

// Groups returns the losses, grouped by kind and cause.
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

// lag is the median delay of requests from which on the load exceeds what the app can serve.
const lag = 100 * time.Millisecond

// judge returns the report.
func (d *drill) judge(res *load.Result) *Report {
	rep := d.newReport(res)
	j := &judge{
		changes: d.changes, server: d.opt.Server, process: d.opt.Process, proxy: d.site.target().Proxy,
		live: d.opt.Live, bake: d.opt.Config.Probation, rep: rep,
	}
	j.losses(res)
	j.figures(res)
	if delay := res.Lag(); delay > lag {
		rep.Notes = append(rep.Notes,
			fmt.Sprintf("the app did not keep up with %g requests a second over %d connections: half of them waited "+
				"%s or more before they were sent, which their latency includes; lower --rate, or raise --clients",
				rep.Load.Rate, rep.Load.Clients, delay.Round(time.Millisecond)))
	}
	if res.LimitReached {
		rep.BrokenPromises = append(rep.BrokenPromises,
			fmt.Sprintf("the load reached its limit of %d requests before the end of the drill: lower --rate or --switches",
				rep.Sent))
	}
	rep.conclude()
	return rep
}

// newReport returns a report of what was sent, and of what the drill has noted.
func (d *drill) newReport(res *load.Result) *Report {
	o := &d.opt
	rep := &Report{
		App: o.Config.App, Version: o.Version, Mode: "copy", Address: d.site.target().String(), Server: o.Server.Name,
		Began: res.Began, Seconds: res.Ended.Sub(res.Began).Seconds(),
		Sent: len(res.Records), Failed: make(map[string]int), Changes: []ChangeReport{}, Losses: []Loss{},
		BrokenPromises: append([]string{}, d.broken...), Notes: append([]string{}, d.notes...),
		result: res, separate: make(map[int]bool),
	}
	if o.Live {
		rep.Mode = "live"
	}
	rep.Load = LoadReport{
		Rate: o.Load.Rate, Sent: float64(rep.Sent) / rep.Seconds, Clients: o.Load.Clients,
		KeepAlive: o.Load.KeepAlive, TimeoutSeconds: o.Load.Timeout.Seconds(),
	}
	for _, s := range res.Shapes {
		rep.Load.Requests = append(rep.Load.Requests, s.Name)
	}
	for kind, n := range res.Count() {
		if kind != load.None {
			rep.Failed[kind.String()] = n
		}
	}
	return rep
}

// figures fills in the latencies and the effect of each change.
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

// conclude sets the verdict, in one sentence.
func (r *Report) conclude() {
	r.OK = r.Lost == 0 && len(r.BrokenPromises) == 0 && r.Sent > 0
	changes := fmt.Sprintf("%d changes", len(r.Changes))
	if len(r.Changes) == 1 {
		changes = "1 change"
	}
	switch {
	case r.Sent == 0:
		r.Verdict = "no request was sent, so the drill proves nothing"
	case r.Lost > 0:
		r.Verdict = fmt.Sprintf("%d of %d requests %s lost, in %s", r.Lost, r.Sent, were(r.Lost), changes)
	case len(r.BrokenPromises) > 0:
		r.Verdict = fmt.Sprintf("none of %d requests was lost in %s, but %s", r.Sent, changes,
			promises(len(r.BrokenPromises)))
	default:
		r.Verdict = fmt.Sprintf("none of %d requests was lost, in %s", r.Sent, changes)
	}
	if r.InKilledWorker > 0 {
		r.Verdict += fmt.Sprintf("; %d more ended with the killed worker", r.InKilledWorker)
	}
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
