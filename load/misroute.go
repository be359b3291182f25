package load

import (
	"fmt"
	"strings"
	"time"
)

// Cutover is one switch of a gate from one generation to another. Every connection opened before
// Began must reach From, and every one opened after Ended must reach To. In between, both are
// correct.
type Cutover struct {
	From, To     int
	Began, Ended time.Time
}

// Via is where the recorded connection ends.
type Via int

// The places where a recorded connection can end.
const (
	Direct Via = iota // at the app's own listener: the kernel picks the generation while the connection is being opened
	Proxy             // at a proxy, which opens its own connection to the app at some time before the answer
)

// Misrouted returns the answers that came from the wrong generation: from the new one before its
// cutover, or from the old one on a connection opened after the cutover. The cutovers are in
// chronological order.
func (r *Result) Misrouted(via Via, cutovers ...Cutover) []Record {
	return r.filter(func(rec *Record) bool {
		failedElsewhere := rec.Failure != None && rec.Generation == 0 // a proxy's own 502 comes from no generation
		if rec.Status == 0 || failedElsewhere || len(cutovers) == 0 {
			return false
		}
		chosen := Window{rec.Opened, rec.Connected}
		if via == Proxy {
			chosen = Window{rec.Begun, rec.Ended}
		}
		return !allowedGenerations(chosen, cutovers)[rec.Generation]
	})
}

// allowedGenerations returns the generations that a connection may reach if the gate picked one at
// some time within w.
func allowedGenerations(w Window, cutovers []Cutover) map[int]bool {
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

// Describe returns one line per record, for at most twenty records.
func (r *Result) Describe(records []Record) string {
	var b strings.Builder
	for i := range records {
		if i == reportLimit {
			fmt.Fprintf(&b, "and %d more\n", len(records)-reportLimit)
			break
		}
		fmt.Fprintln(&b, r.describe(&records[i]))
	}
	return b.String()
}
