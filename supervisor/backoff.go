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
