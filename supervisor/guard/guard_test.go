package guard

import (
	"math"
	"slices"
	"testing"
	"time"
)

func counts(requests, errors uint64) Counts { return Counts{Requests: requests, Errors: errors} }

// feed adds the same second until the watch asks for something, and returns what and after how long.
func feed(w interface{ Add(s Second) Action }, s Second, most int) (Action, int) {
	for n := 1; n <= most; n++ {
		if a := w.Add(s); a != Continue {
			return a, n
		}
	}
	return Continue, most
}

func defaults() Thresholds { return Thresholds{Points: DefaultPoints, Factor: DefaultFactor} }

func TestASuspicionIsComparedBeforeItIsAVerdict(t *testing.T) {
	w := After(defaults(), counts(10_000, 10))
	if a, _ := feed(w, Second{New: counts(20, 10)}, 10); a != Compare || !w.Comparing() {
		t.Fatalf("action %d", a)
	}
	a, n := feed(w, Second{New: counts(10, 5), Old: counts(10, 0)}, 30)
	if a != Worse || n < verdictSeconds {
		t.Errorf("action %d after %d s", a, n)
	}
	if f := w.Facts(); f.New.Errors != uint64(5*n) || f.Old.Requests != uint64(10*n) || f.Seconds != n { //nolint:gosec // small
		t.Errorf("%+v", f)
	}
}

func TestErrorsOfBothReleasesAreNoVerdict(t *testing.T) {
	w := After(defaults(), counts(10_000, 10))
	if a, _ := feed(w, Second{New: counts(20, 10)}, 10); a != Compare {
		t.Fatalf("action %d", a)
	}
	if a, n := feed(w, Second{New: counts(10, 5), Old: counts(10, 5)}, 30); a != Release || n != 10 || w.Comparing() {
		t.Errorf("action %d after %d s", a, n)
	}
}

func TestAComparisonWithoutRequestsEnds(t *testing.T) {
	w := After(defaults(), counts(10_000, 10))
	if a, _ := feed(w, Second{New: counts(20, 10)}, 10); a != Compare {
		t.Fatalf("action %d", a)
	}
	if a, n := feed(w, Second{New: counts(10, 5)}, 200); a != Release || n != compareFor {
		t.Errorf("action %d after %d s", a, n)
	}
}

func TestSecondsWithoutConnectionsForTheOldReleaseAreNotCompared(t *testing.T) {
	w := After(defaults(), counts(10_000, 10))
	if a, _ := feed(w, Second{New: counts(20, 10), Share: 1}, 10); a != Compare {
		t.Fatalf("action %d", a)
	}
	// An answer on a connection from before tells nothing of what new ones would get.
	if a, n := feed(w, Second{New: counts(10, 5), Old: counts(1, 0), Share: 1}, 200); a != Release || n != compareFor {
		t.Errorf("action %d after %d s", a, n)
	}
	w = Beside(defaults(), counts(10_000, 10))
	for range 20 {
		if a := w.Add(Second{New: counts(20, 10), Old: counts(2, 0), Share: 1}); a == Worse {
			t.Fatal("a control that has no connections is compared")
		}
	}
}

func TestOneBurstDecidesNothing(t *testing.T) {
	for name, w := range map[string]*Watch{
		"canary": New(defaults()), "probation": After(defaults(), counts(1000, 0)), "alone": Alone(defaults(), counts(1000, 0)),
	} {
		quiet := Second{New: counts(20, 0), Old: counts(20, 0)}
		_, _ = feed(w, quiet, 5)
		if a := w.Add(Second{New: counts(500, 500), Old: counts(20, 0)}); a != Continue {
			t.Errorf("%s: action %d", name, a)
		}
		if a, _ := feed(w, quiet, 60); a != Continue {
			t.Errorf("%s: action %d later", name, a)
		}
	}
}

func TestADifferenceBelowAThresholdIsNone(t *testing.T) {
	for name, c := range map[string]struct{ new, old Counts }{
		"points": {counts(1000, 15), counts(1000, 0)}, // 1.5 points, far more than twice
		"factor": {counts(100, 15), counts(100, 10)},  // 5 points, not twice
	} {
		if a, _ := feed(New(defaults()), Second{New: c.new, Old: c.old}, 3600); a != Continue {
			t.Errorf("%s: action %d", name, a)
		}
	}
	strict := New(Thresholds{Points: 0.01, Factor: 1.2})
	if a, _ := feed(strict, Second{New: counts(100, 15), Old: counts(100, 10)}, 3600); a != Compare {
		t.Errorf("action %d with lower thresholds", a)
	}
}

func TestAControlIsEnoughForAVerdict(t *testing.T) {
	w := Beside(defaults(), counts(10_000, 10))
	a, n := feed(w, Second{New: counts(19, 4), Old: counts(1, 0)}, 10)
	if a != Compare {
		t.Fatalf("action %d after %d s", a, n)
	}
	a, more := feed(w, Second{New: counts(10, 2), Old: counts(10, 0)}, 60)
	if f := w.Facts(); a != Worse || f.Compared != (f.Seconds == more) {
		t.Errorf("action %d, %+v after %d s", a, f, n+more)
	}
	large := Beside(defaults(), counts(100, 20)) // by what it had before nothing is suspicious
	a, n = feed(large, Second{New: counts(16, 4), Old: counts(4, 0)}, 60)
	if f := large.Facts(); a != Worse || n < verdictSeconds || f.Compared || f.Old != counts(4*uint64(n), 0) { //nolint:gosec // small
		t.Errorf("action %d, %+v after %d s", a, f, n)
	}
}

func TestAControlWithTheSameErrorsIsNoVerdict(t *testing.T) {
	w := Beside(defaults(), counts(10_000, 10))
	for range 60 {
		if a := w.Add(Second{New: counts(19, 9), Old: counts(4, 2)}); a == Worse {
			t.Fatalf("%+v", w.Facts())
		}
	}
}

func TestAReleaseThatCannotBeComparedAsksForNoComparison(t *testing.T) {
	w := Alone(defaults(), counts(10_000, 10))
	if a, n := feed(w, Second{New: counts(20, 10)}, 60); a != Worse || n < verdictSeconds {
		t.Errorf("action %d after %d s", a, n)
	}
}

func TestAnOldReleaseWithoutRequestsIsTakenForSound(t *testing.T) {
	w := After(defaults(), Counts{})
	if a, _ := feed(w, Second{New: counts(20, 10)}, 60); a != Compare {
		t.Errorf("action %d", a)
	}
}

func TestCountsThatBecomeLessSayNothing(t *testing.T) {
	if got := counts(5, 1).Since(counts(10, 0)); got != (Counts{}) {
		t.Errorf("%+v", got)
	}
	if got := counts(15, 9).Since(counts(10, 1)); got != counts(5, 5) { // torn: more errors than requests
		t.Errorf("%+v", got)
	}
}

func TestEqualSharesAreLikelierOne(t *testing.T) {
	if odds := logOdds(100, 2, 100, 2); odds >= 0 {
		t.Errorf("%g", odds)
	}
	if odds := logOdds(30, 15, 30, 0); odds < math.Log(verdictOdds) {
		t.Errorf("%g", odds)
	}
}

// Whatever is counted, the watch answers, and a verdict has its seconds.
func FuzzWatch(f *testing.F) {
	f.Add([]byte{20, 10, 0, 0, 255, 255, 1, 0}, uint64(100), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, requests, errors uint64) {
		for _, w := range []*Watch{
			New(defaults()), After(defaults(), counts(requests, errors)), Beside(defaults(), counts(requests, errors)),
		} {
			failing := 0
			for i := 0; i+4 <= len(data); i += 4 {
				c := counts(uint64(data[i])<<(data[i]%56), uint64(data[i+1])).Since(Counts{})
				o := counts(uint64(data[i+2]), uint64(data[i+3])).Since(Counts{})
				if c.Errors > 0 {
					failing++
				}
				if w.Add(Second{New: c, Old: o}) == Worse && failing < verdictSeconds {
					t.Fatalf("a verdict after %d seconds with errors", failing)
				}
			}
		}
	})
}

func TestTheFirstAnswersAreNotJudged(t *testing.T) {
	bad := Second{New: counts(20, 20), Old: counts(20, 0)}
	w := New(defaults()).AfterWarmUp()
	if a, _ := feed(w, bad, warmUpSeconds); a != Continue || w.Facts() != (Facts{}) {
		t.Errorf("action %d, %+v", a, w.Facts())
	}
	if a, n := feed(w, bad, 10); a != Compare || n > 4 {
		t.Errorf("action %d after %d s", a, n)
	}
	slow := New(defaults()).AfterWarmUp()
	if a, _ := feed(slow, Second{New: counts(1, 1), Old: counts(20, 0)}, warmUpRequests); a != Continue {
		t.Errorf("action %d with one request a second", a)
	}
}

func TestASlowAnswerIsNoticeablySlower(t *testing.T) {
	for was, want := range map[time.Duration]time.Duration{
		0: 10 * time.Millisecond, time.Millisecond: 11 * time.Millisecond, time.Second: 1500 * time.Millisecond,
	} {
		if got := Limit(was, DefaultSlower); got != want {
			t.Errorf("%s: %s", was, got)
		}
	}
}

// answers are the counts of a second for a Rate: the new release has this part of the connections, and
// something waits for it.
func answers(share float64, of, before uint64) Second {
	return Second{New: Counts{Requests: of, InFlight: 1}, Old: Counts{Requests: before}, Share: share}
}

func TestASilentReleaseIsWorse(t *testing.T) {
	w := RateAfter(20, time.Second)
	if a, n := feed(w, answers(1, 0, 0), 60); a != Compare || n != rateSuspicious || w.Facts().Seconds != rateSuspicious {
		t.Fatalf("action %d after %d s, %+v", a, n, w.Facts())
	}
	a, n := feed(w, answers(0.5, 0, 10), 60)
	if f := w.Facts(); a != Worse || rateSuspicious+n < keptSeconds || !f.Compared || f.Old.Requests != uint64(10*n) { //nolint:gosec // small
		t.Errorf("action %d after %d s, %+v", a, n, f)
	}
}

func TestASilentReleaseIsWorseThanItsControl(t *testing.T) {
	w := RateBeside(20, time.Second)
	_, _ = feed(w, answers(0.95, 19, 1), 60)
	a, n := feed(w, answers(0.95, 0, 1), rateSuspicious)
	if a != Compare {
		t.Fatalf("action %d after %d s", a, n)
	}
	if a, n = feed(w, answers(0.5, 0, 10), 60); a != Worse || rateSuspicious+n != 40 {
		t.Errorf("action %d after %d s", a, n)
	}
}

func TestASilenceOfBothReleasesIsNoVerdict(t *testing.T) {
	for name, w := range map[string]*Rate{
		"probation": RateAfter(20, time.Second), "control": RateBeside(20, time.Second), "canary": NewRate(time.Second),
	} {
		for range 1000 {
			if w.Add(answers(0.5, 0, 0)) == Worse {
				t.Fatalf("%s: %+v", name, w.Facts())
			}
		}
	}
}

// A silence that goes on while both releases fail, and ends with that, is no verdict.
func TestAReleaseThatAnswersAfterAFailureIsNotSilent(t *testing.T) {
	w := RateBeside(200, time.Second)
	_, _ = feed(w, answers(0.95, 38, 162), keptSeconds)
	seconds := slices.Concat(slices.Repeat([]Second{answers(0.5, 0, 100)}, 20), slices.Repeat([]Second{answers(0.5, 0, 0)}, 20))
	for i, s := range append(seconds, answers(0.5, 100, 100)) {
		if w.Add(s) == Worse {
			t.Fatalf("after %d s: %+v", i, w.Facts())
		}
	}
}

// Clients that keep connections to the old release do not come to the new one.
func TestAReleaseForWhichNothingWaitsIsNotSilent(t *testing.T) {
	for name, w := range map[string]*Rate{
		"probation": RateAfter(20, time.Second), "control": RateBeside(20, time.Second), "canary": NewRate(time.Second),
	} {
		for range 1000 {
			if a := w.Add(Second{Old: counts(20, 0), Share: 0.5}); a != Continue {
				t.Fatalf("%s: action %d", name, a)
			}
		}
	}
}

func TestASilenceMustBeLongerThanAPage(t *testing.T) {
	w := RateAfter(20, 25*time.Second)
	_, _ = feed(w, answers(1, 20, 0), 60)
	_, _ = feed(w, answers(1, 0, 0), rateSuspicious)
	if a, n := feed(w, answers(0.5, 0, 10), 80); a != Worse || rateSuspicious+n != 50 {
		t.Errorf("action %d after %d s", a, n)
	}
}

func TestAReleaseThatAnswersAgainIsNotSilent(t *testing.T) {
	w := RateAfter(20, time.Second)
	_, _ = feed(w, answers(1, 0, 0), rateSuspicious)
	if a, n := feed(w, answers(0.5, 10, 10), 80); a != Release || n != 10 || w.Comparing() {
		t.Errorf("action %d after %d s", a, n)
	}
}

func TestARateThatTellsTooLittleIsNoVerdict(t *testing.T) {
	several := func(n int, s Second) []Second { return slices.Repeat([]Second{s}, n) }
	for name, seconds := range map[string][]Second{
		"the old release answers in few seconds": slices.Concat(several(40, answers(0.95, 0, 0)), several(6, answers(0.95, 0, 1))),
		"the new release answers a part":         slices.Concat(several(60, answers(0.95, 15, 5)), several(1, answers(0.95, 0, 5))),
		"one client of the old release is busy": slices.Concat(
			several(1, answers(0.5, 0, 50)), several(30, answers(0.5, 0, 0)), several(11, answers(0.5, 0, 50))),
	} {
		w := RateBeside(100, time.Second)
		_, _ = feed(w, answers(0.95, 95, 5), keptSeconds)
		for i, s := range seconds {
			if w.Add(s) == Worse {
				t.Errorf("%s: worse after %d s: %+v", name, i+1, w.Facts())
				break
			}
		}
	}
}
