package guard

import (
	"math"
	"math/rand/v2"
	"time"
)

// custom is what users and pages of a site do.
type custom struct {
	name  string
	night bool    // at some moment most users stop to come
	heavy float64 // seconds that a worker is busy with its slowest page
	kept  bool    // for 30 s most requests come on connections that the old release still has
	stall bool    // the new release does not answer at all for up to 20 s, once
}

func customs() []custom {
	return []custom{
		{name: "steady"},
		{name: "night", night: true},
		{name: "slow pages", heavy: 30},
		{name: "kept connections", kept: true},
		{name: "a stall", stall: true},
	}
}

// hang is what a release does that stops answering.
type hang struct {
	name   string
	part   float64 // of its requests are never answered
	async  bool    // they keep no worker from the others
	script bool    // nothing hangs: the pages of the new release ask for nothing more
	after  int     // seconds after which it begins
}

// rateSite is one run about the rate.
type rateSite struct {
	site
	custom
	hang
}

const (
	pageTakes  = 0.05 // seconds, in the mean
	busyPart   = 0.5  // of the time of the workers, at most
	heavyPart  = 0.2  // of the time of a worker with its slowest page
	stallMost  = 20   // seconds
	keptFor    = 30
	scriptPart = 0.8 // of the requests are made by pages
)

// play plays one release, and returns after how many seconds there was a verdict; 0: there was none.
func (s *rateSite) play(r *rand.Rand) (second int, requests uint64) {
	w := newRateWorld(s, r)
	longest := w.longest()
	watch := RateAfter(s.rate, longest)
	switch {
	case longest > LongestAnswer:
		return 0, 0
	case s.share > 0:
		watch = NewRate(longest)
	case s.control > 0:
		watch = RateBeside(s.rate, longest)
	}
	if s.hiccup {
		w.beginHiccup(s.seconds)
	}
	turn := 0
	for t := 1; t <= s.seconds || watch.Comparing(); t++ {
		share, shown := s.share, s.share
		switch {
		case share > 0:
		case !watch.Comparing():
			share, shown = 1-s.control, 1-s.control
		case s.turns:
			turn++
			share, shown = float64(1-turn%2), 0.5
		default:
			share, shown = 0.5, 0.5
		}
		got := w.second(share)
		got.Share = shown
		requests += got.New.Requests
		if watch.Add(got) == Worse {
			return t, requests
		}
	}
	return 0, 0
}

// rateWorld is the traffic of one run, and the workers of both releases.
type rateWorld struct {
	*world
	c        custom
	h        hang
	fresh    crew
	old      crew
	begun    int // second
	dusk     int // the second of the run in which most users go
	stalls   [2]float64
	lastPart float64 // of the old release, in the last second
}

// crew are the workers of a release: each has one request at a time.
type crew struct {
	free     []float64   // when
	answered map[int]int // by second
}

func newRateWorld(s *rateSite, r *rand.Rand) *rateWorld {
	w := &rateWorld{world: s.world(r), c: s.custom, h: s.hang}
	workers := int(math.Ceil(s.rate * pageTakes / busyPart))
	w.fresh = crew{free: make([]float64, workers), answered: map[int]int{}}
	w.old = crew{free: make([]float64, workers), answered: map[int]int{}}
	w.dusk = 1 + r.IntN(s.seconds)
	from := float64(r.IntN(s.seconds))
	w.stalls = [2]float64{from, from + stallMost*r.Float64()}
	return w
}

// longest returns the longest answer that the old release has shown. It may not have shown its slowest
// page at all.
func (w *rateWorld) longest() time.Duration {
	slowest := 1.0
	if w.c.heavy > 0 && w.r.Float64() < 1-math.Exp(-history*w.heavyRate()) {
		slowest = w.c.heavy
	}
	return time.Duration(slowest * float64(time.Second))
}

// heavyRate returns how many slowest pages are asked for in a second.
func (w *rateWorld) heavyRate() float64 {
	if w.c.heavy == 0 {
		return 0
	}
	return min(w.site.rate/20, heavyPart*float64(len(w.old.free))/w.c.heavy)
}

// second plays a second in which the new release gets a share of the requests.
func (w *rateWorld) second(share float64) Second {
	w.step()
	w.begun++
	rate := w.rate
	if w.c.night && w.begun > w.dusk {
		rate *= max(0.02, math.Exp(float64(w.dusk-w.begun)/10))
	}
	if w.h.script {
		rate *= 1 - scriptPart + scriptPart*w.lastPart
		w.lastPart = 1 - share
	}
	if w.c.kept && w.begun <= keptFor {
		share *= 0.2
	}
	t := float64(w.at)
	for range poisson(w.r, rate*(1-w.clumped)) {
		w.arrive(t+w.r.Float64(), share)
	}
	for range poisson(w.r, rate*w.clumped/w.clump) {
		at, part := t+w.r.Float64(), 0.0
		if w.r.Float64() < share {
			part = 1
		}
		for range 1 + int(math.Log(1-w.r.Float64())/math.Log(1-1/w.clump)) {
			w.arrive(at, part)
		}
	}
	// Something always waits, such as a WebSocket: that says nothing for the new release.
	return Second{
		New: Counts{Requests: w.fresh.take(w.at), InFlight: 1}, Old: Counts{Requests: w.old.take(w.at), InFlight: 1},
	}
}

// arrive has a request reach one of the releases.
func (w *rateWorld) arrive(at, share float64) {
	takes := -math.Log(1-w.r.Float64()) * pageTakes
	if w.r.Float64() < w.heavyRate()/w.site.rate {
		takes = w.c.heavy * (0.5 + 0.5*w.r.Float64())
	}
	if w.r.Float64() >= share {
		w.old.serve(at, takes, w.from, w.to)
		return
	}
	if w.h.part > 0 && w.begun > w.h.after && w.r.Float64() < w.h.part {
		if w.h.async {
			return
		}
		takes = math.Inf(1)
	}
	from, to := w.from, w.to
	if began := float64(w.at - w.begun); w.c.stall && at < began+w.stalls[1] {
		from, to = began+w.stalls[0], began+w.stalls[1]
	}
	w.fresh.serve(at, takes, from, to)
}

// serve has the worker that is free first answer a request. Between from and to nothing goes on.
func (c *crew) serve(at, takes, from, to float64) {
	first := 0
	for i, free := range c.free {
		if free < c.free[first] {
			first = i
		}
	}
	begin := max(at, c.free[first])
	end := begin + takes
	if begin < to && end > from {
		end += to - max(begin, from)
	}
	c.free[first] = end
	if end < 1e9 {
		c.answered[int(end)]++
	}
}

// take returns how many answers were given in a second.
func (c *crew) take(second int) uint64 {
	n := c.answered[second]
	delete(c.answered, second)
	return uint64(n) //nolint:gosec // not negative
}
