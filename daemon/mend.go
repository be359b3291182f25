package daemon

import (
	"context"
	"errors"
	"net"
	"sync"

	"go.uber.org/zap"

	"superctl/socket"
)

// mendSockets restores the daemon's control and notify sockets when their paths are removed, until
// ctx ends. Without the first, no command reaches the daemon; without the second, no worker can
// report that it is ready.
func (d *daemon) mendSockets(ctx context.Context) {
	watch := func(path string, mend func() (bool, error)) {
		err := socket.WatchPath(ctx, path, func() {
			mended, err := mend()
			switch {
			case errors.Is(err, net.ErrClosed): // the daemon is ending
			case err != nil:
				d.log.Error(
					"restore a removed socket of the daemon", zap.String("path", path), zap.Error(err),
				)
			case mended:
				d.log.Warn(
					"another process removed a socket of the daemon; it was restored",
					zap.String("path", path),
				)
			}
		})
		if err != nil {
			d.log.Error(
				"watch a socket of the daemon; its removal will not be noticed", zap.String("path", path), zap.Error(err),
			)
		}
	}
	var both sync.WaitGroup
	both.Go(func() { watch(d.config.Control, d.mendControl) })
	both.Go(func() { watch(notifyPath(d.config), d.s.MendNotify) })
	both.Wait()
}

func (d *daemon) mendControl() (mended bool, err error) {
	if mended, err = d.api.Mend(); mended {
		d.s.StoreAgain(controlName)
	}
	return mended, err
}
