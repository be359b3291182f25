package main

import (
	"testing"
	"time"

	"superctl/load"
)

// at is a moment of a test.
func at(seconds float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// answer is a request that was sent and answered within a tenth of a second.
func answer(due float64, release string) load.Record {
	return load.Record{Due: at(due), Begun: at(due), Ended: at(due).Add(100 * time.Millisecond), Release: release}
}

func TestATurnEndsWhenTheOldReleaseAnswersNoRequest(t *testing.T) {
	res := &load.Result{Began: at(0), Ended: at(20), Records: []load.Record{
		answer(1, "r1"), answer(3, "r1"), answer(4, "r2"), answer(6, "r1"), answer(7, "r2"), // asked at 2
		answer(11, "r2"), answer(12, "r1"), // asked at 10: nobody is mixed up
	}}
	s := newStrip("direct", res, []time.Time{at(2), at(10)})
	for i, want := range []struct {
		over  time.Time
		mixed time.Duration
	}{{at(6), 1900 * time.Millisecond}, {at(12).Add(100 * time.Millisecond), 0}} {
		if got := s.turns[i]; !got.over().Equal(want.over) || got.mixed() != want.mixed {
			t.Errorf(
				"turn %d was over at %v and mixed for %v, want %v and %v", i, got.over().Sub(at(0)), got.mixed(),
				want.over.Sub(at(0)), want.mixed,
			)
		}
	}
	if n := len(s.before().Records); n != 1 {
		t.Errorf("%d requests are from before the first turn", n)
	}
}

func TestARequestCountsAtTheTimeItWasDue(t *testing.T) {
	late := answer(5, "")
	late.Ended, late.Failure = at(30), load.TimedOut
	early := answer(1, "")
	early.Ended, early.Failure = at(6), load.TimedOut
	res := &load.Result{Records: []load.Record{early, late, answer(6, "r1")}}
	if got := failedBetween(res, at(4), at(10)); len(got) != 1 || !got[0].Due.Equal(at(5)) {
		t.Errorf("failed: %+v", got)
	}
}

func TestMemoryIsSteadyBeforeTheFirstTurn(t *testing.T) {
	list := []memory{{at(1), 100}, {at(2), 130}, {at(3), 110}, {at(5), 300}, {at(6), 90}}
	if steady, peak := steadyAndPeak(list, at(4)); steady != 110 || peak != 300 {
		t.Errorf("steady %d, peak %d", steady, peak)
	}
}

func TestAWrongArgumentIsAnError(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"-parts", "("}, {"-switches", "0"}, {"-quick"}, {"compare"}} {
		if _, err := compareOptions(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
