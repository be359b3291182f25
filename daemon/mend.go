package daemon

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"superctl/socket"
)

// mendSockets makes the daemon's own sockets again when their paths are removed, until ctx ends:
// without the first no command reaches the daemon, without the second no worker can say that it is
// ready.
func (d *daemon) mendSockets(ctx context.Context) {
	watch := func(path string, mend func() (bool, error)) {
		err := socket.WatchPath(ctx, path, func() {
			mended, err := mend()
			switch {
			case err != nil:
				d.log.Error(
					"a socket of the daemon is gone and cannot be made again", zap.String("path", path), zap.Error(err),
				)
			case mended:
				d.log.Warn(
					"a socket of the daemon was removed by another process; it is there again",
					zap.String("path", path),
				)
			}
		})
		if err != nil {
			d.log.Error(
				"a socket of the daemon that is removed will not be noticed", zap.String("path", path), zap.Error(err),
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
