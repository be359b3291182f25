package guard

import (
	"math"
	"math/rand/v2"
)

// setting is how connections are divided while the releases are compared.
type setting struct {
	name    string
	share   float64 // of the new release in a canary; 0: a probation
	control float64 // what the old release keeps of the connections in a probation
	turns   bool    // a probation whose gate leads to one release at a time, so that they take turns
}

// site is what one run is about.
type site struct {
	setting
	rate             float64 // requests a second
	old, new         float64 // their shares of errors
	hiccup           bool    // what both depend on fails once, within the time
	seconds          int
	clumped, clump   float64 // the part of errors that comes in clumps, and their mean size
	driftSD, driftBy float64
}

// history is for how long the old release has served alone before the new one comes.
const (
	history = 600
	tens    = 10
)

// play plays one release, and returns after how many seconds and requests of the new one there was
// a verdict; 0: there was none.
func (s *site) play(r *rand.Rand) (second int, requests uint64) {
	world := s.world(r)
	var w *Watch
	if s.share > 0 {
		w = New(Thresholds{Points: DefaultPoints, Factor: DefaultFactor})
	} else {
		var before Counts
		for range history / tens {
			world.step()
			before.add(world.arm(tens, s.old))
		}
		w = After(Thresholds{Points: DefaultPoints, Factor: DefaultFactor}, before)
		if s.control > 0 {
			w = Beside(Thresholds{Points: DefaultPoints, Factor: DefaultFactor}, before)
		}
	}
	if s.hiccup {
		world.beginHiccup(s.seconds)
	}
	turn := 0
	for t := 1; t <= s.seconds || w.Comparing(); t++ {
		world.step()
		share := s.share
		switch {
		case share > 0:
		case !w.Comparing():
			share = 1 - s.control
		case s.turns:
			turn++
			share = float64(1 - turn%2)
		default:
			share = 0.5
		}
		got := Second{New: world.arm(share, s.new), Old: world.arm(1-share, s.old)}
		requests += got.New.Requests
		if w.Add(got) == Worse {
			return t, requests
		}
	}
	return 0, 0
}

// world is the traffic of one run. The requests of a second are a Poisson number whose mean has
// gamma noise; the share of errors drifts; a part of them comes in clumps, each of one release and
// within one second, as of a client that tries again.
type world struct {
	*site
	r              *rand.Rand
	day            float64
	at             int
	rate, drift, x float64
	from, to       float64 // of the hiccup
	severity       float64
}

func (s *site) world(r *rand.Rand) *world {
	return &world{site: s, r: r, day: 2 * math.Pi * r.Float64(), x: r.NormFloat64() * s.driftSD}
}

func (w *world) beginHiccup(within int) {
	const mean = 5
	length := 1 + w.r.ExpFloat64()*(mean-1)
	w.from = float64(w.at) + (length+float64(within))*w.r.Float64() - length
	w.to = w.from + length
	w.severity = 0.2 + 0.8*w.r.Float64()
}

func (w *world) step() {
	const noise = 6
	w.at++
	gamma := 0.0
	for range noise {
		gamma += w.r.ExpFloat64() / noise
	}
	w.rate = w.site.rate * (1 + 0.6*math.Sin(w.day+2*math.Pi*float64(w.at)/86400)) * gamma
	a := math.Exp(-1 / w.driftBy)
	w.x = a*w.x + w.r.NormFloat64()*w.driftSD*math.Sqrt(1-a*a)
	w.drift = math.Exp(w.x - w.driftSD*w.driftSD/2)
}

// failing returns the share of requests that the hiccup has fail in this second.
func (w *world) failing() float64 {
	t := float64(w.at)
	return w.severity * max(0, min(1, min(t, w.to)-max(t-1, w.from)))
}

// arm returns what a release that gets a share of the connections counts in this second.
func (w *world) arm(share, errors float64) (c Counts) {
	base := min(errors, w.old)
	single := min(1, base*(1-w.clumped)*w.drift)
	for _, p := range []float64{w.failing(), errors - base} {
		single += p - single*p
	}
	n := poisson(w.r, w.rate*share)
	c.Requests, c.Errors = n, binomial(w.r, n, single)
	if base > 0 {
		for range poisson(w.r, w.rate*share*base*w.clumped*w.drift/w.clump) {
			size := 1 + uint64(math.Log(1-w.r.Float64())/math.Log(1-1/w.clump))
			c.Requests, c.Errors = c.Requests+size, c.Errors+size
		}
	}
	return c
}

func poisson(r *rand.Rand, mean float64) (n uint64) {
	if mean <= 0 {
		return 0
	}
	if mean > 15 {
		return uint64(max(0, math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	for p, least := r.Float64(), math.Exp(-mean); p > least; p *= r.Float64() {
		n++
	}
	return n
}

func binomial(r *rand.Rand, n uint64, p float64) (k uint64) {
	switch mean := float64(n) * p; {
	case p <= 0 || n == 0:
		return 0
	case p >= 1:
		return n
	case mean > 30 && float64(n)-mean > 30:
		return uint64(min(float64(n), max(0, math.Round(mean+math.Sqrt(mean*(1-p))*r.NormFloat64()))))
	case p < 0.05: // few: their distances are geometric
		for at := 0.0; ; k++ {
			at += 1 + math.Floor(math.Log(1-r.Float64())/math.Log1p(-p))
			if at > float64(n) {
				return k
			}
		}
	}
	for range n {
		if r.Float64() < p {
			k++
		}
	}
	return k
}
