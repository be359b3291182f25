package guard

import (
	"math"
	"time"
)

// Rate watches whether a new release goes on answering. A rate that falls says nothing by itself: fewer
// users come at night, and a busy client may end. So a release without answers is only a suspicion. The
// verdict needs that requests wait for it, and that the old release answers at the same time.
//
// Every request is steered by itself then, so that the share of the connections that a release gets
// says how many of the answers are expected of it, whatever the users ask for.
type Rate struct {
	usual     float64 // answers of the old release per second, before; 0 = unknown
	patience  int     // seconds
	canary    bool    // both releases have connections all the time, which clients may keep
	control   bool    // both have connections all the time, which clients do not keep
	comparing bool

	silent            Facts // of the last seconds, one after the other, in which the new release answered too little
	kept              int   // seconds that are not judged, because clients keep connections to the old release
	run               run
	watched, compared Facts
	worse             bool
}

// run is a time in which the new release has answered too little.
type run struct {
	Facts
	evidence float64 // how much likelier it is that it answers next to nothing than its share, as a logarithm
	active   int     // seconds with answers of the old release
	due      float64 // answers that are expected of the new one
}

const (
	nothing = 0.1 // part of the expected answers that is as good as none

	rateOdds       = 10_000
	rateSeconds    = 10 // with answers of the old release
	rateSuspicious = 5  // seconds without answers

	// Clients have connections from before, on which the old release answers them once more. So what it
	// answers in this time after the cutover, or after the begin of a canary's comparison, says nothing.
	keptSeconds = 30

	// A worker that is busy with one slow page answers nothing else. So a silence must be longer than the
	// longest answer of the old release, which may not have shown its slowest page: longer than the 30 s
	// after which servers usually end a worker, and the start of another.
	leastPatience = 40 * time.Second
	patienceTimes = 2
	// LongestAnswer is the longest answer of an old release with which there can be a verdict. With a
	// longer one, such as a stream, a silence would have to be longer than a comparison.
	LongestAnswer = 40 * time.Second
)

// NewRate returns a watch of a canary.
func NewRate(longest time.Duration) *Rate {
	return &Rate{canary: true, patience: patience(longest)}
}

// RateAfter returns a watch of a release that gets all connections until a comparison. usual is how
// many requests the old one has answered per second, longest how long one of them took at most.
func RateAfter(usual float64, longest time.Duration) *Rate {
	return &Rate{usual: usual, patience: patience(longest), kept: keptSeconds}
}

// RateBeside returns a watch of a release after which the old one keeps a part of the connections, as
// a control.
func RateBeside(usual float64, longest time.Duration) *Rate {
	w := RateAfter(usual, longest)
	w.control = true
	return w
}

func patience(longest time.Duration) int {
	return int(math.Ceil(max(leastPatience, time.Duration(patienceTimes*float64(longest))).Seconds()))
}

// Add takes the counts of one more second, and returns what follows.
func (w *Rate) Add(s Second) Action {
	w.count(s)
	switch {
	case w.isWorse(s):
		w.worse = true
		return Worse
	case w.comparing && w.settled():
		w.comparing, w.silent, w.run = false, Facts{}, run{}
		return Release
	case !w.comparing && w.suspicious():
		w.compare()
		return Compare
	}
	return Continue
}

// count takes a second for all that the watch decides by.
func (w *Rate) count(s Second) {
	w.watched.add(s)
	w.listen(s)
	if w.comparing {
		w.compared.add(s)
	}
	if w.kept > 0 {
		w.kept--
		return
	}
	if w.canary || w.bothServe() {
		w.run.add(s)
	}
}

// bothServe reports whether both releases get new connections, on which they can be compared.
func (w *Rate) bothServe() bool { return w.control || w.comparing }

// isWorse reports whether the new release has been as good as silent for long enough.
func (w *Rate) isWorse(s Second) bool {
	return w.bothServe() && w.run.worse(rateOdds) && w.silence(s) >= w.patience
}

// settled reports whether a comparison has gone on for long enough to say that there is nothing in it.
func (w *Rate) settled() bool { return w.compared.Seconds >= compareFor || w.answers() }

// compare begins a comparison. That of a canary has evidence of its own, from when clients have left the
// connections that they keep.
func (w *Rate) compare() {
	w.comparing, w.compared = true, Facts{Compared: true}
	if w.canary {
		w.run, w.silent, w.kept = run{}, w.run.Facts, keptSeconds
	}
}

// listen counts the seconds in which the new release answers too little.
func (w *Rate) listen(s Second) {
	if s.New.InFlight == 0 || float64(s.New.Requests) > nothing*w.usual*s.Share {
		w.silent = Facts{}
		return
	}
	w.silent.add(s)
}

// silence returns for how many seconds the new release has been as good as silent; 0 if it answers in
// this one, or if the old one does not: what both depend on may fail at the end of a silence.
func (w *Rate) silence(s Second) int {
	if w.silent.Seconds == 0 || s.Old.Requests == 0 {
		return 0
	}
	return max(w.run.Seconds, w.silent.Seconds)
}

// suspicious reports whether the new release may have stopped answering.
func (w *Rate) suspicious() bool {
	if w.canary {
		return w.run.worse(suspicionOdds)
	}
	return w.silent.Seconds >= rateSuspicious
}

// answers reports whether a comparison has shown that the new release answers.
func (w *Rate) answers() bool {
	const enough = 10 // seconds, and requests of each
	f := &w.compared
	return w.run.evidence == 0 && f.Seconds >= enough && f.New.Requests >= enough && f.Old.Requests >= enough
}

// Comparing reports whether both releases are to get connections.
func (w *Rate) Comparing() bool { return w.comparing }

// Facts returns the counts of the comparison, or of the silence that has led to it or to a verdict;
// else those since the begin.
func (w *Rate) Facts() Facts {
	switch {
	case w.comparing && w.compared.Seconds > 0:
		return w.compared
	case w.comparing:
		return w.silent
	case w.worse:
		return w.run.Facts
	}
	return w.watched
}

func (f *Facts) add(s Second) {
	f.New.add(s.New)
	f.Old.add(s.Old)
	f.Seconds++
}

// add takes a second in which both releases had connections. A second in which nothing waits for the
// new release says nothing.
func (r *run) add(s Second) {
	if s.New.InFlight == 0 && s.New.Requests == 0 || s.Share <= 0 || s.Share >= 1 {
		return
	}
	got, old := float64(s.New.Requests), float64(s.Old.Requests)
	scale := min(1, secondCap/max(1, got), oldCap(s.Share)/max(1, old))
	as := nothing * s.Share / (1 - s.Share + nothing*s.Share) // the part of all answers, if it is as good as silent
	r.evidence += scale * (got*math.Log(as/s.Share) + old*math.Log((1-as)/(1-s.Share)))
	if r.evidence <= 0 {
		*r = run{}
		return
	}
	r.Facts.add(s)
	if old > 0 {
		r.active++
	}
	r.due += old * s.Share / (1 - s.Share)
}

// oldCap returns how many answers of the old release a second speaks for. Those of one client are one
// event, and the fewer connections the release has, the more an event says.
func oldCap(share float64) float64 { return min(secondCap, max(1, 0.5/share)) }

// worse reports whether the new release is as good as silent, with those odds.
func (r *run) worse(odds float64) bool {
	return r.evidence > math.Log(odds) && r.active >= rateSeconds && float64(r.New.Requests) <= nothing*r.due
}
