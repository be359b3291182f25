package supervisor

import (
	"context"
	"fmt"
)

// revive starts what waits in its back-off at once, and waits until the live generation serves or
// has failed once more. A switch to the release that is live and does not serve asks for that.
func (c *change) revive(ctx context.Context) (string, error) {
	n := 0
	if err := c.owner.do(func() {
		for _, in := range c.to.instances {
			in.restarts, in.death = 0, "" // its streak stays: if it ends again it waits as long as before
			if in.state == InstanceBackoff {
				n++
				in.fire(backoffElapsed)
			}
		}
	}); err != nil {
		return "", err
	}
	if err := c.hold().awaitReady(ctx, c.to); err != nil {
		return "", fmt.Errorf("%s does not serve: %w", c.plan.Release.Name, err)
	}
	return fmt.Sprintf("%s serves again; workers started: %d", c.plan.Release.Name, n), nil
}
