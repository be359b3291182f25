package supervisor

import (
	"math"
	"slices"
	"time"
)

const (
	// startsAtOnce is more than a small server has processors: while some starts wait for a disk,
	// others go on.
	startsAtOnce = 8
	// startTurn is how long a start keeps others waiting. One that takes longer goes on, but waits
	// for something other than the processor: a file system that does not answer, perhaps.
	startTurn = 2 * time.Second
)

// startQueue gives the starts of workers their turns. Each takes some milliseconds of CPU, so of a
// thousand at once the last takes seconds; without an order that could be the one for which others
// wait. Those of workers with listeners come first, then those with the longest chain of `after`
// behind them.
//
// Owned by Run.
type startQueue struct {
	*core
	running int
	waiting []queuedStart // in the order of their turns
}

// queuedStart is a start that waits for its turn.
type queuedStart struct {
	urgency int
	start   func() (then func())
}

// enqueue has start run in a goroutine of its own when its turn comes, and then, on the owner, what
// it returns.
func (s *startQueue) enqueue(urgency int, start func() (then func())) {
	after := slices.IndexFunc(s.waiting, func(q queuedStart) bool { return q.urgency < urgency })
	if after < 0 {
		after = len(s.waiting)
	}
	s.waiting = slices.Insert(s.waiting, after, queuedStart{urgency, start})
	s.next()
}

// next lets those begin whose turn it is.
func (s *startQueue) next() {
	for s.running < startsAtOnce && len(s.waiting) > 0 {
		q := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.running++
		s.run(q.start)
	}
}

func (s *startQueue) run(start func() (then func())) {
	over := false
	end := func() {
		if !over {
			over = true
			s.running--
			s.next()
		}
	}
	late := s.postAfter(startTurn, end)
	s.async(func() {
		then := start()
		late.Stop()
		s.post(func() {
			then()
			end()
		})
	})
}

// urgency orders the starts of a process's workers among those that wait for their turn.
func (p *Plan) urgency(of *Process) int {
	if len(of.Listen) > 0 {
		return math.MaxInt
	}
	return p.chainBehind(of.Name)
}

// chainBehind returns how many processes wait for one, directly or not, one after the other: the
// longest chain of `after`.
func (p *Plan) chainBehind(name string) int {
	behind := make(map[string]int, len(p.Processes))
	for _, q := range slices.Backward(p.Processes) { // each comes after those that it names
		for _, earlier := range q.After {
			behind[earlier] = max(behind[earlier], behind[q.Name]+1)
		}
	}
	return behind[name]
}
