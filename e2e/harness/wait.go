package harness

import "time"

// Becomes waits until a condition that another process makes true is true, and reports whether that
// happened within the limit. Between two looks it waits for twice as long as the last one took: a
// look is often a command, and the other process needs the processor.
func Becomes(limit time.Duration, cond func() bool) bool {
	const shortest, longest = 20 * time.Millisecond, 250 * time.Millisecond
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		began := time.Now()
		if cond() {
			return true
		}
		select {
		case <-time.After(min(max(2*time.Since(began), shortest), longest)):
		case <-late.C:
			return false
		}
	}
}
