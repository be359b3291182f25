package takeover

import (
	"context"
	"errors"

	"superctl/takeover/running"
)

// stopServer stops the old server by its manager.
func (t *takeover) stopServer(ctx context.Context) error {
	if t.Manager.Kind != running.Systemd {
		return errors.New("not yet")
	}
	t.out.Stopped = "systemctl stop"
	return t.Run(ctx, append([]string{"systemctl", "stop"}, append(t.Manager.Sockets, t.Manager.Unit)...)...)
}
