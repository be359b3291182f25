package api

// Measures are the figures of an app for metrics: its status, and totals since the app started. The
// totals of an app never fall: not at a switch, and not when its daemon dies.
type Measures struct {
	Status   Status            `json:"status"`
	Requests []ProcessRequests `json:"requests"`
	Changes  []ChangeTotal     `json:"changes"`
}

// ProcessRequests are the requests of one process in one generation, or in all generations that are
// gone.
type ProcessRequests struct {
	Process    string   `json:"process"`
	Generation int      `json:"generation"` // 0 = all that are gone
	Release    string   `json:"release,omitempty"`
	Requests   Requests `json:"requests"`
	// how many complete answers took how long: by cell of the histogram in docs/requests.md, from 0
	Durations map[int]uint64 `json:"durations"`
}

// ChangeTotal is how many changes of one kind ended in one way, as the history has them.
type ChangeTotal struct {
	Kind    string  `json:"kind"`
	Outcome Result  `json:"outcome"`
	Count   uint64  `json:"count"`
	Seconds float64 `json:"seconds"` // of all of them
	// how many took at most so long as each of ChangeBounds
	Within []uint64 `json:"within"`
}

// ChangeBounds returns the durations, in seconds, that changes are sorted by.
func ChangeBounds() []float64 { return []float64{1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800} }
