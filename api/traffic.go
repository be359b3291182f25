package api

// ProcessTraffic is what the users of one process got from both releases of a change.
type ProcessTraffic struct {
	Process string   `json:"process"`
	Before  *Traffic `json:"before,omitempty"` // of the old release, from the begin of the change to the cutover
	After   *Traffic `json:"after,omitempty"`  // of the new one, from the cutover to the end of the probation
}

// Traffic is what the workers of a release counted in some time.
type Traffic struct {
	Release    string  `json:"release"`
	NotCounted bool    `json:"not_counted,omitempty"` // its workers do not count requests
	Server     string  `json:"server,omitempty"`      // of NotCounted: the server, if it is known
	Seconds    float64 `json:"seconds"`
	Requests   uint64  `json:"requests"` // that have ended
	// those of them with a status of 5xx, and those that the server or the app ended without a complete
	// answer
	Status5xx uint64 `json:"5xx"`
	Broken    uint64 `json:"broken"`
	// within which a half and 99 % of the complete answers were given, in seconds; nil = there were none
	P50 *float64 `json:"p50_seconds,omitempty"`
	P99 *float64 `json:"p99_seconds,omitempty"`
	// Durations are the complete answers by how long they took: up to 1 ms, 2 ms, 4 ms, and so on. The
	// list ends with the slowest.
	Durations []uint64 `json:"durations,omitempty"`
}
