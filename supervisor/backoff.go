package supervisor

import "time"

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 30 * time.Second
	longLife     = time.Minute // a worker that lived for so long died of something new
	crashLoop    = 3           // deaths in a row that make a crash loop
)

// backoff is how long to wait before a worker is started again after so many deaths in a row: not
// at all after the first, then twice as long each time up to a cap, 20 % more or less by chance, so
// that a hundred workers that died together do not come back together.
func (co *core) backoff(streak int) time.Duration {
	if streak == 0 {
		return 0
	}
	wait := lastBackoff
	if streak < 16 {
		wait = min(lastBackoff, firstBackoff<<(streak-1))
	}
	return time.Duration(float64(wait) * (0.8 + 0.4*co.os.chance()))
}

// loops reports whether a worker has died again and again, and the newest one has not lived for long, nor was
// it asked for.
func (in *instance) loops() bool { return in.streak >= crashLoop && in.death != "" }

// outlive has a crash loop be over once the worker of an instance, which is ready, has lived for long.
func (co *core) outlive(in *instance) {
	if in.loops() {
		in.later(longLife-time.Since(in.born), func() { in.streak = 0 })
	}
}
