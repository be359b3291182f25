package takeover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"superctl/socket"
	"superctl/takeover/notice"
	"superctl/takeover/running"
)

// stop stops the old server, which gets no new connections any more.
func (t *takeover) stop(ctx context.Context) error {
	if err := t.settle(ctx); err != nil {
		return err
	}
	if err := t.keepDirectories(ctx); err != nil {
		return err
	}
	return t.stopServer(ctx)
}

// dropIn is a drop-in of the old unit that is lost at a reboot.
func (t *takeover) dropIn() string {
	return filepath.Join("/run/systemd/system", t.Manager.Unit+".d", "superctl-takeover.conf")
}

// keepDirectories keeps systemd from removing the directory of the socket with the old unit.
func (t *takeover) keepDirectories(ctx context.Context) error {
	if t.Manager.Kind != running.Systemd || len(t.Manager.RuntimeDirectories) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(t.dropIn()), 0o755); err != nil {
		return err
	}
	const text = "[Service]\nRuntimeDirectoryPreserve=yes\n"
	if err := os.WriteFile(t.dropIn(), []byte(text), 0o644); err != nil {
		return err
	}
	return t.Run(ctx, "systemctl", "daemon-reload")
}

// enable makes the app start at the next boot, and not the old server.
func (t *takeover) enable(ctx context.Context) error {
	if t.Manager.Kind == running.Systemd {
		units := append([]string{t.Manager.Unit}, t.Manager.Sockets...)
		if err := t.Run(ctx, append([]string{"systemctl", "disable", "--now"}, units...)...); err != nil {
			return err
		}
	}
	return t.Run(ctx, "systemctl", "enable", t.unit())
}

// finish removes what only the takeover needed.
func (t *takeover) finish(ctx context.Context) error {
	if t.Manager.Kind == running.Systemd {
		switch err := os.Remove(t.dropIn()); {
		case err == nil:
			if err := t.Run(ctx, "systemctl", "daemon-reload"); err != nil {
				return err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("remove the drop-in: %w", err)
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
