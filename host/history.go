//go:build linux

package host

import (
	"context"
	"fmt"

	"superctl/api"
)

// History asks the daemon of an app for its newest changes, newest first.
func History(ctx context.Context, a *App) ([]api.PastChange, error) {
	late := fmt.Errorf("the daemon does not answer within %s", answerTime)
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, late)
	defer cancel()
	return clientOf(a.Name, a.Config, a.Control).History(ctx)
}
