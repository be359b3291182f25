package guard

import (
	"math"
	"math/rand/v2"
	"slices"
)

// pace is how long the answers of a site take. Durations are logarithms: 0 is the usual one.
type pace struct {
	name   string
	spread float64 // of the durations of all pages
	heavy  float64 // part of the requests that are for a page which takes ten times as long
}

func paces() []pace {
	return []pace{
		{name: "alike", spread: 0.5},
		{name: "spread", spread: 1},
		{name: "a heavy page", spread: 0.5, heavy: 0.1},
	}
}

// slowdown is what a release does to its durations.
type slowdown struct {
	name  string
	times float64
	pages pages // those that take longer
}

// pages are some pages of a site: all, the slowest, for which a tenth of the requests are, or all others.
type pages int

const (
	allPages pages = iota
	slowestTenth
	otherPages
)

// have reports whether a page that is one of the slowest, or not, is among them.
func (p pages) have(slowest bool) bool { return p == allPages || (p == slowestTenth) == slowest }

// slowSite is one run about latency.
type slowSite struct {
	site
	pace
	slowdown
}

const (
	shiftSD = 0.3 // of the hour of the change, from what the old release has seen before
	driftSD = 0.2 // of the level of both within minutes

	coldFirst, coldTimes = 20, 10.0 // the first requests of a new release, and how slow they are
	coldFor              = 10       // seconds in which it is twice as slow

	stallEach, stallTimes = 120, 5.0 // now and then one release is slow for a second

	clumpedPart, clumpMean = 0.5, 5.0 // clients that ask for one page again and again
)

// play plays one release, and returns after how many seconds there was a verdict; 0: there was none.
func (s *slowSite) play(r *rand.Rand) (second int, requests uint64) {
	w := &slowWorld{world: s.world(r), pace: s.pace, by: s.slowdown}
	watches, limits := w.watches()
	if s.hiccup {
		w.beginHiccup(s.seconds)
		w.severity = math.Log(2 + 18*r.Float64())
	}
	comparing := func() bool {
		return slices.ContainsFunc(watches, func(w *Watch) bool { return w.Comparing() })
	}
	turn := 0
	for t := 1; t <= s.seconds || comparing(); t++ {
		w.step()
		share := s.share
		switch {
		case share > 0:
		case !comparing():
			share = 1 - s.control
		case s.turns:
			turn++
			share = float64(1 - turn%2)
		default:
			share = 0.5
		}
		fresh, old := w.arm(share, true), w.arm(1-share, false)
		requests += uint64(len(fresh))
		for i, watch := range watches {
			if watch.Add(Second{New: above(fresh, limits[i]), Old: above(old, limits[i])}) == Worse {
				return t, requests
			}
		}
	}
	return 0, 0
}

func above(durations []float64, limit float64) (c Counts) {
	c.Requests = uint64(len(durations))
	for _, d := range durations {
		if d > limit {
			c.Errors++
		}
	}
	return c
}

// slowWorld is the traffic of one run, with its durations.
type slowWorld struct {
	*world
	pace
	by       slowdown
	answered int // by the new release
	since    int // seconds
	level    float64
}

// watches has the old release serve, and returns a watch for each quantile with its limit.
func (w *slowWorld) watches() (list []*Watch, limits []float64) {
	var before []float64
	for range min(history, 2000/int(w.site.rate)) {
		w.world.step()
		before = append(before, w.arm(1, false)...)
	}
	slices.Sort(before)
	for _, q := range Quantiles() {
		limit := math.Inf(1)
		if len(before) >= LeastAnswers {
			limit = before[int(q.Of*float64(len(before)))] + math.Log(DefaultSlower)
		}
		watch := New(q.Thresholds)
		switch {
		case w.control > 0:
			watch = Beside(q.Thresholds, above(before, limit))
		case w.share == 0:
			watch = After(q.Thresholds, above(before, limit))
		}
		list, limits = append(list, watch.AfterWarmUp()), append(limits, limit)
	}
	w.level, w.since = shiftSD*w.r.NormFloat64(), 0
	return list, limits
}

func (w *slowWorld) step() {
	w.world.step()
	w.since++
}

// arm returns how long a release that gets a share of the connections takes for its answers in this
// second.
func (w *slowWorld) arm(share float64, fresh bool) (list []float64) {
	level := w.level + driftSD*w.x/w.driftSD
	if w.failing() > 0 {
		level += w.severity
	}
	if w.r.IntN(stallEach) == 0 {
		level += math.Log(stallTimes)
	}
	if fresh && w.since <= coldFor {
		level += math.Log(2)
	}
	mean := w.rate * share
	for range poisson(w.r, mean*(1-clumpedPart)) {
		list = append(list, w.answer(level, w.page(fresh), fresh))
	}
	for range poisson(w.r, mean*clumpedPart/clumpMean) {
		page := w.page(fresh)
		for range 1 + int(math.Log(1-w.r.Float64())/math.Log(1-1/clumpMean)) {
			list = append(list, w.answer(level, page, fresh))
		}
	}
	return list
}

// page returns how long a page takes: most of the spread is that of the pages.
func (w *slowWorld) page(fresh bool) float64 {
	const slowest = 1.2816 // standard deviations, from which a tenth is
	z := w.r.NormFloat64()
	page, slow := 0.8*w.spread*z, w.heavy == 0 && z > slowest
	if w.r.Float64() < w.heavy {
		page, slow = page+math.Log(10), true
	}
	if fresh && w.by.times > 0 && w.by.pages.have(slow) {
		page += math.Log(w.by.times)
	}
	return page
}

func (w *slowWorld) answer(level, page float64, fresh bool) float64 {
	if fresh {
		if w.answered++; w.answered <= coldFirst {
			level += math.Log(coldTimes)
		}
	}
	return level + page + 0.6*w.spread*w.r.NormFloat64()
}
