package load

import (
	"fmt"
	"strings"
	"time"
)

// Cutover is one turn of a gate from a generation to another. Before Began every new connection must reach From, after
// Ended every new one To; in between either is right.
type Cutover struct {
	From, To     int
	Began, Ended time.Time
}

// Via says where the connection that is recorded ends.
type Via int

// The ways.
const (
	Direct Via = iota // at the app's own listener: the kernel chooses while the connection is being opened
	Proxy             // at a proxy, which opens its own connection to the app at some time before the answer
)

// Misrouted are the answers that came from a generation which must not have had the connection: from the new one before
// its cutover, or from the old one to a connection that was opened after it. The cutovers are in the order in which they
// happened.
func (r *Result) Misrouted(via Via, cutovers ...Cutover) []Record {
	return r.where(func(rec *Record) bool {
		failedElsewhere := rec.Failure != None && rec.Generation == 0 // a proxy's own 502 comes from no generation
		if rec.Status == 0 || failedElsewhere || len(cutovers) == 0 {
			return false
		}
		chosen := Window{rec.Opened, rec.Connected}
		if via == Proxy {
			chosen = Window{rec.Begun, rec.Ended}
		}
		return !allowed(chosen, cutovers)[rec.Generation]
	})
}

// allowed are the generations that a connection may reach whose way was chosen at some moment of w.
func allowed(w Window, cutovers []Cutover) map[int]bool {
	// JSON has no monotonic clock: compare wall clocks with wall clocks.
	began, ended := w.Began.Round(0), w.Ended.Round(0)
	ok := make(map[int]bool)
	if !began.After(cutovers[0].Ended.Round(0)) {
		ok[cutovers[0].From] = true
	}
	for i, c := range cutovers {
		startsLater := ended.Before(c.Began.Round(0))
		isOver := i+1 < len(cutovers) && began.After(cutovers[i+1].Ended.Round(0))
		if !startsLater && !isOver {
			ok[c.To] = true
		}
	}
	return ok
}

// Describe is one line for each of the records, at most twenty.
func (r *Result) Describe(records []Record) string {
	var b strings.Builder
	for i := range records {
		if i == shown {
			fmt.Fprintf(&b, "and %d more\n", len(records)-shown)
			break
		}
		fmt.Fprintln(&b, r.describe(&records[i]))
	}
	return b.String()
}
