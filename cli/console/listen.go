//go:build linux

package console

import (
	"context"
	"sync"

	"superctl/api"
	"superctl/daemon/control"
)

// NewerThanAll returns the newest generation: a change that begins now starts workers of a later one.
func NewerThanAll(st *api.Status) int {
	newest := st.Generation
	for i := range st.Generations {
		newest = max(newest, st.Generations[i].ID)
	}
	return newest
}

// NewerThanLive returns the live generation: the change in progress starts workers of a later one.
func NewerThanLive(st *api.Status) int { return st.Generation }

// Listen shows the newest line of the workers that the change starts, on a terminal, until the
// returned function is called. They belong to a generation later than the one that newest returns.
// What it cannot get is not shown: the change does not depend on it.
func (p *Progress) Listen(
	ctx context.Context, daemonClient *control.Client, newest func(*api.Status) int,
) (stop func()) {
	if !p.live {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var ended sync.WaitGroup
	earlier := 0
	if st, err := daemonClient.Status(ctx); err == nil {
		earlier = newest(&st)
	}
	ended.Go(func() {
		_ = daemonClient.Logs(ctx, api.LogQuery{Follow: true}, func(l api.LogLine) {
			if l.Generation > earlier {
				p.hear(l)
			}
		})
	})
	return func() {
		cancel()
		ended.Wait()
	}
}
