package main

import (
	"time"

	"superctl/load"
)

// played is the result of one peer's turns, on each way.
type played struct {
	name   string
	strips []strip
	memory struct{ steady, peak int } // kB
	err    error                      // why the peer could not be measured
}

// strip is the result on one way.
type strip struct {
	way    string
	result *load.Result
	turns  []turn
}

// turn is one switch.
type turn struct {
	asked    time.Time
	firstNew time.Time // when the first answer of the new release came
	lastOld  time.Time // when the last request that the old release answered was sent
}

// over returns when only the new release answers.
func (t turn) over() time.Time {
	if t.lastOld.After(t.firstNew) {
		return t.lastOld
	}
	return t.firstNew
}

// mixed returns how long both releases answer.
func (t turn) mixed() time.Duration { return max(0, t.lastOld.Sub(t.firstNew)) }

// play switches one peer back and forth between two good releases, under load.
func (o *options) play(s *scene, p peer) (out played) {
	out.name = p.name()
	defer s.recovered(&out.err)
	address := p.start(s, behaviour())
	s.answering(address)
	fresh, kept := s.front(address)
	var going []*way
	for i, at := range []string{address, fresh, kept} {
		going = append(going, s.begin(ways()[i], at))
	}
	taken := s.watch()
	<-time.After(2 * o.calm)
	var asked []time.Time
	for i := range o.switches {
		to := names[(i+1)%2]
		asked = append(asked, time.Now())
		if err := p.turn(to); err != nil {
			s.Fatalf("switch %d: %v", i+1, err)
		}
		for _, w := range going {
			if !w.settled(to, patience/2) {
				s.Fatalf("switch %d: %s, %s does not answer alone within %s", i+1, w.name, to, patience/2)
			}
		}
		<-time.After(o.calm)
	}
	out.memory.steady, out.memory.peak = steadyAndPeak(taken(), asked[0])
	for i, res := range stopped(going) {
		out.strips = append(out.strips, newStrip(going[i].name, res, asked))
	}
	return out
}

// newStrip returns a strip, with the beginning and the end of each turn taken from the answers.
func newStrip(way string, result *load.Result, asked []time.Time) strip {
	s := strip{way: way, result: result}
	for i, at := range asked {
		t := turn{asked: at, lastOld: at}
		until := result.Ended
		if i+1 < len(asked) {
			until = asked[i+1]
		}
		for _, r := range result.Records {
			if r.Begun.Before(at) || r.Begun.After(until) {
				continue
			}
			switch {
			case r.Release == names[i%2] && r.Begun.After(t.lastOld):
				t.lastOld = r.Begun
			case r.Release == names[(i+1)%2] && (t.firstNew.IsZero() || r.Ended.Before(t.firstNew)):
				t.firstNew = r.Ended
			}
		}
		s.turns = append(s.turns, t)
	}
	return s
}

// before returns the part of the result before the first turn. After a turn, delayed requests come
// in a burst.
func (s *strip) before() *load.Result {
	return s.result.During(load.Window{Began: s.result.Began, Ended: s.turns[0].asked.Add(-time.Millisecond)})
}

// windows returns the time of each turn: from its command until one second after its end.
func (s *strip) windows() (list []load.Window) {
	for _, t := range s.turns {
		list = append(list, load.Window{Began: t.asked, Ended: t.over().Add(time.Second)})
	}
	return list
}
