// Package guard decides from what users get whether a new release answers with more errors than the
// old one, or more slowly: slow answers are judged as errors are. It only computes: the supervisor counts, turns the gates and acts on the verdict.
//
// It decides in two stages. While a release is watched, a difference is only a suspicion: a database
// that fails for a moment looks like a bad release to anything that compares now with before. On a
// suspicion both releases get connections at the same time, and new counts. Only those give a
// verdict, because what both releases depend on fails for both.
//
// Errors of real sites come in bursts, and a burst is one event, not a hundred. So a second speaks
// for at most three requests of each release, and errors count only when they come in several seconds.
// The constants are chosen by simulation; bench/GUARD.md has the figures.
package guard

import (
	"cmp"
	"math"
)

// Counts are the requests of one release that have ended, but for those that the client gave up.
type Counts struct {
	Requests uint64
	Errors   uint64 // those of them with a status of 5xx, or without a complete answer
	Broken   uint64 // those of the errors without a complete answer, by the fault of server or app
	InFlight uint64 // requests that have not ended yet; for a Rate only
}

// Share returns the part of the answers that are errors, between 0 and 1.
func (c Counts) Share() float64 {
	if c.Requests == 0 {
		return 0
	}
	return float64(c.Errors) / float64(c.Requests)
}

func (c *Counts) add(o Counts) {
	c.Requests, c.Errors, c.Broken = c.Requests+o.Requests, c.Errors+o.Errors, c.Broken+o.Broken
	c.InFlight = o.InFlight
}

// Since returns what was counted after an earlier look. Counts that have become less, as when their
// files were removed, say nothing.
func (c Counts) Since(before Counts) Counts {
	if c.Requests < before.Requests || c.Errors < before.Errors || c.Broken < before.Broken {
		return Counts{}
	}
	n := c.Requests - before.Requests
	errors := min(n, c.Errors-before.Errors)
	return Counts{Requests: n, Errors: errors, Broken: min(errors, c.Broken-before.Broken), InFlight: c.InFlight}
}

// Second is what was counted in one second.
type Second struct {
	New, Old Counts
	Share    float64 // of the new connections that the new release got, between 0 and 1
}

// apart reports whether the old release got no new connections: what it counted says nothing of what
// they would have got.
func (s *Second) apart() bool { return s.Share >= 1 }

// Thresholds are by how much a new release must be worse. A verdict needs all of them.
type Thresholds struct {
	Points float64 // the least difference of the shares of errors, between 0 and 1
	Factor float64 // the least ratio of the shares
	Least  float64 // the least share of the new release
	Odds   float64 // how much likelier a difference must be than none; 0 = the usual odds
}

// odds returns the odds that a verdict needs.
func (t Thresholds) odds() float64 { return cmp.Or(t.Odds, verdictOdds) }

// exceeds reports whether the share p of a new release is worse than the share q of the old one.
func (t Thresholds) exceeds(p, q float64) bool {
	return p-q >= t.Points && p >= t.Factor*q && p >= t.Least
}

// The default thresholds: 2 points, and twice the share of the old release.
const (
	DefaultPoints = 0.02
	DefaultFactor = 2
)

const (
	secondCap = 3 // requests that a second speaks for

	suspicionOdds    = 10 // how much likelier it is that the releases differ than that they do not
	suspicionSeconds = 2  // different ones with errors
	verdictOdds      = 100
	verdictSeconds   = 4

	// The counts of a control are looked at from the first second on, and not only after a suspicion. So
	// their verdict needs odds that are this many times better.
	controlOdds = 4

	// The old release of a watch without simultaneous counts: as much as this many requests, at
	// least because a release that has served little has shown little, and at most because an hour
	// ago says little about now.
	leastBefore = 20
	mostBefore  = 400
)

// evidence is what the counts of some seconds say.
type evidence struct {
	new, old         Counts  // all
	newN, newK       float64 // capped
	oldN, oldK       float64 // capped
	seconds, failing int     // in which there were errors of the new release
}

func (e *evidence) add(s Second) {
	e.new.add(s.New)
	e.old.add(s.Old)
	e.seconds++
	if s.New.Errors > 0 {
		e.failing++
	}
	n, k := capped(s.New)
	e.newN, e.newK = e.newN+n, e.newK+k
	n, k = capped(s.Old)
	e.oldN, e.oldK = e.oldN+n, e.oldK+k
}

// capped returns the counts of a second, scaled down to the requests that it speaks for.
func capped(c Counts) (n, k float64) {
	n, k = float64(c.Requests), float64(c.Errors)
	if n > secondCap {
		n, k = secondCap, k*secondCap/n
	}
	return n, k
}

// differs reports whether the new release is worse by the thresholds, with those odds.
func (e *evidence) differs(t Thresholds, odds float64, seconds int) bool {
	if e.failing < seconds || e.newN == 0 || e.oldN == 0 {
		return false
	}
	p, q := e.newK/e.newN, e.oldK/e.oldN
	return t.exceeds(p, q) && logOdds(e.newN, e.newK, e.oldN, e.oldK) > math.Log(odds)
}

// logOdds returns how much likelier the counts are if the two shares of errors differ than if they
// are one, as a logarithm (a Bayes factor). Before any count each share is expected to be small:
// Beta(0.5, 9.5).
func logOdds(n1, k1, n0, k0 float64) float64 {
	const a, b = 0.5, 9.5
	return logBeta(k1+a, n1-k1+b) + logBeta(k0+a, n0-k0+b) - logBeta(a, b) - logBeta(k1+k0+a, n1+n0-k1-k0+b)
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}
