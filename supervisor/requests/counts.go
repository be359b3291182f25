package requests

// classes is the number of classes of status, 1xx to 5xx.
const classes = 5

// Counts are the requests of one or more processes.
type Counts struct {
	Started  uint64 `json:"started"`
	InFlight uint64 `json:"in_flight,omitempty"` // started and not ended
	// Lost were in flight when their process ended.
	Lost uint64 `json:"lost,omitempty"`
	// Answered are those with a complete answer, by class of status: 1xx first, which are WebSockets.
	Answered [classes]uint64 `json:"answered"`
	// Broken ended without a complete answer, by the server or the app.
	Broken uint64 `json:"broken,omitempty"`
	// Aborted ended without a complete answer because the client left.
	Aborted uint64 `json:"aborted,omitempty"`
	// Durations are those of Answered.
	Durations Histogram `json:"durations"`
}

// Add adds the counts of other processes.
func (c *Counts) Add(o *Counts) {
	c.Started += o.Started
	c.InFlight += o.InFlight
	c.Lost += o.Lost
	for i, n := range o.Answered {
		c.Answered[i] += n
	}
	c.Broken += o.Broken
	c.Aborted += o.Aborted
	for i, n := range o.Durations {
		c.Durations[i] += n
	}
}

// Since returns what was counted after an earlier look. Counts that have become less, as when their
// files were removed, say nothing.
func (c *Counts) Since(before *Counts) (since Counts) {
	if c.Started < before.Started || c.Ended() < before.Ended() {
		return Counts{}
	}
	since.Started, since.InFlight = c.Started-before.Started, c.InFlight
	since.Broken, since.Aborted = less(c.Broken, before.Broken), less(c.Aborted, before.Aborted)
	since.Lost = less(c.Lost, before.Lost)
	for i, n := range c.Answered {
		since.Answered[i] = less(n, before.Answered[i])
	}
	for i, n := range c.Durations {
		since.Durations[i] = less(n, before.Durations[i])
	}
	return since
}

func less(n, by uint64) uint64 { return n - min(n, by) }

// Ended returns the number of requests that have ended in one way or another.
func (c *Counts) Ended() uint64 {
	n := c.Broken + c.Aborted
	for _, class := range c.Answered {
		n += class
	}
	return n
}

// leave sets what is in flight, which is lost when the process has ended. A page is read while it
// is written, and a request may end in another row than it began: what would be negative is 0.
func (c *Counts) leave(running bool) {
	c.InFlight, c.Lost = 0, 0
	open := int64(c.Started - c.Ended()) //nolint:gosec // wraps around to a negative number, as wanted
	switch {
	case open <= 0:
	case running:
		c.InFlight = uint64(open)
	default:
		c.Lost = uint64(open)
	}
}
