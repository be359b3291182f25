package guard

// Action is what the owner of a Watch does after a second.
type Action int

// The actions.
const (
	Continue Action = iota
	Compare         // give both releases connections, and have every request steered by itself
	Release         // the comparison found nothing: give the new release its connections again
	Worse           // the verdict: the new release is worse. The watch is over
)

// compareFor limits a comparison, in seconds. Most end sooner: see settled.
const compareFor = 90

// Enough is the number of requests with which it can be said that a release has no more errors than
// the old one. With fewer there is no verdict.
const Enough = 20

// Watch judges a new release second by second. See New, After, Alone and Beside.
type Watch struct {
	thresholds Thresholds
	before     *Counts // of the old release, where it does not serve at the same time
	alone      bool    // it never does
	control    bool    // it has a small part of the connections all the time
	cold       int     // seconds that are not judged yet
	unjudged   uint64  // requests that are not judged yet

	comparing bool
	waited    int      // seconds of the comparison in which the old release got no connections
	watched   evidence // since the begin, or since the last comparison
	sided     evidence // of both at the same time, since the begin: of a control
	compared  evidence
	all       Facts
}

// Facts are the counts that a watch has judged by.
type Facts struct {
	New, Old Counts
	Seconds  int
	Compared bool // they are those of the comparison
}

// New returns a watch of a release that gets connections at the same time as the old one, as in a
// canary.
func New(t Thresholds) *Watch { return &Watch{thresholds: t} }

// After returns a watch of a release that gets all connections until a comparison. before is what
// the old one has counted.
func After(t Thresholds, before Counts) *Watch { return &Watch{thresholds: t, before: &before} }

// Alone returns a watch of a release that cannot be compared, because the old one does not run any
// more. It never asks for a comparison, and its verdict may be wrong: a database that fails for some
// seconds is enough for it.
func Alone(t Thresholds, before Counts) *Watch {
	w := After(t, before)
	w.alone = true
	return w
}

// Beside returns a watch of a release after which the old one keeps a small part of the connections, as
// a control. Its counts are enough for a verdict if they are many; else it is compared as by After.
func Beside(t Thresholds, before Counts) *Watch {
	w := After(t, before)
	w.control = true
	return w
}

// AfterWarmUp has the watch begin once the new release is warm: its first seconds and requests are
// not judged, because each worker is slow until its caches are filled.
func (w *Watch) AfterWarmUp() *Watch {
	w.cold, w.unjudged = warmUpSeconds, warmUpRequests
	return w
}

// warming reports whether a second belongs to the warm-up.
func (w *Watch) warming(s Second) bool {
	if w.cold == 0 && w.unjudged == 0 {
		return false
	}
	w.cold, w.unjudged = max(0, w.cold-1), w.unjudged-min(w.unjudged, s.New.Requests)
	return true
}

// Add takes the counts of one more second, and returns what follows.
func (w *Watch) Add(s Second) Action {
	if w.warming(s) {
		return Continue
	}
	w.all.New.add(s.New)
	w.all.Old.add(s.Old)
	w.all.Seconds++
	if w.besideIsWorse(s) {
		return Worse
	}
	if w.comparing {
		return w.compare(s)
	}
	w.watched.add(s)
	e := w.watched
	if w.before != nil {
		e.oldN, e.oldK = w.past()
	}
	switch {
	case w.alone && e.differs(w.thresholds, w.thresholds.odds(), verdictSeconds):
		return Worse
	case w.alone || !e.differs(w.thresholds, suspicionOdds, suspicionSeconds):
		return Continue
	}
	w.comparing, w.waited, w.compared = true, 0, evidence{}
	return Compare
}

// besideIsWorse reports whether the counts of a control are enough to say that the release is worse.
func (w *Watch) besideIsWorse(s Second) bool {
	if !w.control || s.apart() {
		return false
	}
	w.sided.add(s)
	if !w.sided.differs(w.thresholds, controlOdds*w.thresholds.odds(), verdictSeconds) {
		return false
	}
	w.comparing = false // the verdict is that of the control's counts
	return true
}

// past returns what the old release has shown before, as a number of requests and of errors.
func (w *Watch) past() (n, k float64) {
	n = min(max(float64(w.before.Requests), leastBefore), mostBefore)
	return n, min(n, float64(w.before.Errors)*n/max(n, float64(w.before.Requests)))
}

func (w *Watch) compare(s Second) Action {
	if s.apart() {
		w.waited++
	} else {
		w.compared.add(s)
	}
	switch {
	case w.compared.differs(w.thresholds, w.thresholds.odds(), verdictSeconds):
		return Worse
	case w.waited+w.compared.seconds >= compareFor || w.compared.settled(w.thresholds):
		w.comparing, w.watched = false, evidence{}
		return Release
	}
	return Continue
}

// settled reports whether a comparison has gone on for long enough to say that there is nothing
// in it.
func (e *evidence) settled(t Thresholds) bool {
	const enough = 10 // seconds, and requests of each
	if e.seconds < enough || e.newN < enough || e.oldN < enough {
		return false
	}
	p, q := e.newK/e.newN, e.oldK/e.oldN
	return !t.exceeds(p, q)
}

// Comparing reports whether both releases are to get connections.
func (w *Watch) Comparing() bool { return w.comparing }

// Facts returns what the watch judges by: the counts of the comparison, once it has any. Else the
// new release's since the begin, and what the old one has counted before or meanwhile.
func (w *Watch) Facts() Facts {
	switch {
	case w.comparing && w.compared.seconds > 0:
		return Facts{New: w.compared.new, Old: w.compared.old, Seconds: w.compared.seconds, Compared: true}
	case w.before != nil && !w.control:
		return Facts{New: w.all.New, Old: *w.before, Seconds: w.all.Seconds}
	}
	return w.all
}
