//go:build linux

package console

import (
	"context"
	"sync"

	"superctl/api"
	"superctl/daemon/control"
)

// Listen shows the newest line of the workers that the change starts, on a terminal, until the
// returned function is called. They belong to a generation later than all that exist now. What it
// cannot get is not shown: the change does not depend on it.
func (p *Progress) Listen(ctx context.Context, daemonClient *control.Client) (stop func()) {
	if !p.live {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var ended sync.WaitGroup
	newest := 0
	if st, err := daemonClient.Status(ctx); err == nil {
		newest = st.Generation
		for i := range st.Generations {
			newest = max(newest, st.Generations[i].ID)
		}
	}
	ended.Go(func() {
		_ = daemonClient.Logs(ctx, api.LogQuery{Follow: true}, func(l api.LogLine) {
			if l.Generation > newest {
				p.hear(l)
			}
		})
	})
	return func() {
		cancel()
		ended.Wait()
	}
}
