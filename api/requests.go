package api

// Requests are the requests that workers have served, as they count them themselves. Health checks
// of superctl are not among them.
type Requests struct {
	Started  uint64 `json:"started"`
	InFlight uint64 `json:"in_flight"` // started and not ended yet
	// the answers that were sent completely, by class of status; 1xx are accepted WebSockets
	Status1xx uint64 `json:"1xx"`
	Status2xx uint64 `json:"2xx"`
	Status3xx uint64 `json:"3xx"`
	Status4xx uint64 `json:"4xx"`
	Status5xx uint64 `json:"5xx"`
	Broken    uint64 `json:"broken"`  // ended by the server or the app without a complete answer
	Aborted   uint64 `json:"aborted"` // the client left before the end of the answer
	Lost      uint64 `json:"lost"`    // in flight when their process ended
	// within which a half, 95 % and 99 % of the complete answers were given, in seconds, to within
	// 5 % from 100 us to 5 min; nil = there were none
	P50 *float64 `json:"p50_seconds,omitempty"`
	P95 *float64 `json:"p95_seconds,omitempty"`
	P99 *float64 `json:"p99_seconds,omitempty"`
}

// Ended returns the number of requests that have ended with a complete answer, broken or aborted.
func (r *Requests) Ended() uint64 {
	return r.Status1xx + r.Status2xx + r.Status3xx + r.Status4xx + r.Status5xx + r.Broken + r.Aborted
}

// Uncounted is a process whose workers serve requests and do not count them.
type Uncounted struct {
	Process string `json:"process"`
	Server  string `json:"server"` // "generic" = unknown
}
