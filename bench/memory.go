package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"superctl/e2e/harness"
	"superctl/proc"
)

// memory is the memory of all processes of a server at one time: the sum of their proportional set
// sizes, in which a page that n processes share counts 1/n in each.
type memory struct {
	at   time.Time
	size int // kB
}

// watch measures the memory of the scene's processes repeatedly, until the returned function is
// called or the scene ends.
func (s *scene) watch() (taken func() []memory) {
	ctx, quit := context.WithCancel(context.Background())
	var list []memory
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				list = append(list, memory{time.Now(), s.size()})
			case <-ctx.Done():
				return
			}
		}
	})
	taken = func() []memory {
		quit()
		watching.Wait()
		return list
	}
	s.Cleanup(func() { taken() })
	return taken
}

func (s *scene) size() (kB int) {
	for _, p := range harness.Belonging(s.dir) {
		size, _ := proc.ProportionalSize(p.PID) // fails if the process has ended
		kB += int(size >> 10)
	}
	return kB
}

// steadyAndPeak returns the median before the first turn and the overall maximum.
func steadyAndPeak(list []memory, first time.Time) (steady, peak int) {
	var before []int
	for _, m := range list {
		if m.at.Before(first) {
			before = append(before, m.size)
		}
		peak = max(peak, m.size)
	}
	if len(before) == 0 {
		return 0, peak
	}
	slices.Sort(before)
	return before[len(before)/2], peak
}
