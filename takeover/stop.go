package takeover

import (
	"context"
	"strings"

	"superctl/socket"
	"superctl/takeover/notice"
	"superctl/takeover/running"
	"superctl/takeover/system"
)

// stop stops the old server, which gets no new connections any more.
func (t *takeover) stop(ctx context.Context) error {
	if t.Move != nil {
		if err := t.leave(ctx); err != nil {
			return err
		}
		return t.stopServer(ctx)
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	if err := t.keepDirectories(ctx); err != nil {
		return err
	}
	return t.stopServer(ctx)
}

// keepsDirectories is the drop-in that keeps systemd from removing the directory of the socket with
// the old unit.
func (t *takeover) keepsDirectories() system.DropIn {
	return system.DropIn{Unit: t.Manager.Unit, Name: "superctl-takeover"}
}

func (t *takeover) keepDirectories(ctx context.Context) error {
	if t.Manager.Kind != running.Systemd || len(t.Manager.RuntimeDirectories) == 0 {
		return nil
	}
	return t.keepsDirectories().Write(ctx, "[Service]\nRuntimeDirectoryPreserve=yes\n")
}

// enable makes the app start at the next boot, and not the old server.
func (t *takeover) enable(ctx context.Context) error {
	if t.Move == nil {
		if err := t.disable(ctx); err != nil {
			return err
		}
	}
	if err := t.Run(ctx, "systemctl", "enable", t.unit()); err != nil || t.Move == nil {
		return err
	}
	return notice.Remove(t.App)
}

// disable keeps the old server from starting at the next boot.
func (t *takeover) disable(ctx context.Context) error {
	if t.Manager.Kind != running.Systemd {
		return nil
	}
	units := append([]string{t.Manager.Unit}, t.Manager.Sockets...)
	return t.Run(ctx, append([]string{"systemctl", "disable", "--now"}, units...)...)
}

// finish removes what only the takeover needed.
func (t *takeover) finish(ctx context.Context) error {
	if t.Move != nil {
		return t.disable(ctx)
	}
	if t.Manager.Kind == running.Systemd {
		if err := t.keepsDirectories().Remove(ctx); err != nil {
			return err
		}
	}
	for _, at := range t.Addresses {
		if path, ok := strings.CutPrefix(at, "unix:"); ok {
			if err := socket.Forget(path); err != nil {
				return err
			}
		}
	}
	return notice.Remove(t.App)
}
