package supervisor

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestStartsTakeTurns: of more workers than can start at once, those come first for which others
// wait; and a start that hangs does not keep the others from theirs.
func TestStartsTakeTurns(t *testing.T) {
	plan := Plan{Processes: []Process{
		{Name: "web", Listen: []string{"web"}},
		{Name: "alone"},
		{Name: "first"},
		{Name: "second", After: []string{"first"}},
		{Name: "third", After: []string{"alone", "first", "second"}},
	}}
	var urgencies []int
	for i := range plan.Processes {
		urgencies = append(urgencies, plan.urgency(&plan.Processes[i]))
	}
	if !slices.Equal(urgencies[1:], []int{1, 2, 1, 0}) || urgencies[0] <= 2 {
		t.Errorf("urgencies %v: that of web must be the highest, and the others 1, 2, 1, 0", urgencies)
	}

	synctest.Test(t, func(t *testing.T) {
		co := newCore(Options{})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() {
			for {
				select {
				case f := <-co.inbox:
					f()
				case <-ctx.Done():
					close(co.done)
					return
				}
			}
		}()
		s := &startQueue{core: co}
		var begun, over []string
		start := func(urgency int, name string, ends <-chan struct{}) {
			s.enqueue(urgency, func() func() {
				_ = co.do(func() { begun = append(begun, name) })
				<-ends
				return func() { over = append(over, name) }
			})
		}
		hangs, fast := make(chan struct{}), make(chan struct{})
		close(fast)
		_ = co.do(func() {
			for range startsAtOnce {
				start(0, "hangs", hangs)
			}
			for i, urgency := range []int{0, 1, 0, 2, 1} {
				start(urgency, fmt.Sprintf("%d of %d", i, urgency), fast)
			}
		})
		synctest.Wait()
		if n := ask(co, func() int { return len(begun) }); n != startsAtOnce {
			t.Errorf("%d have begun, want %d", n, startsAtOnce)
		}
		var order []int
		for _, q := range ask(co, func() []queuedStart { return slices.Clone(s.waiting) }) {
			order = append(order, q.urgency)
		}
		if !slices.Equal(order, []int{2, 1, 1, 0, 0}) {
			t.Errorf("urgencies of those that wait: %v", order)
		}
		time.Sleep(startTurn)
		synctest.Wait()
		if got := ask(co, func() []string { return slices.Sorted(slices.Values(over)) }); !slices.Equal(
			got, []string{"0 of 0", "1 of 1", "2 of 0", "3 of 2", "4 of 1"},
		) {
			t.Errorf("started while others hang: %v", got)
		}
		close(hangs)
		synctest.Wait()
		if got := ask(co, func() int { return len(over) }); got != startsAtOnce+5 {
			t.Errorf("%d starts are over", got)
		}
		if n := ask(co, func() int { return s.running }); n != 0 {
			t.Errorf("%d are still counted", n)
		}
	})
}
