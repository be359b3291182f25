package takeover

import (
	"context"

	"superctl/takeover/oldserver"
)

// stopServer stops the old server in the way that its kind needs.
func (t *takeover) stopServer(ctx context.Context) error {
	report, err := oldserver.Stop(ctx, t.Server, oldserver.Options{Idle: t.Move != nil, Progress: t.Say})
	t.out.Stopped = report.Method
	return err
}
