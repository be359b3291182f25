package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// DropIn is a drop-in of a unit that is lost at the next boot.
type DropIn struct {
	Unit string // such as shop.service
	Name string // of the file, without .conf
}

// Write writes the drop-in, and has systemd read it.
func (d DropIn) Write(ctx context.Context, text string) error {
	if err := os.MkdirAll(d.dir(), 0o755); err != nil {
		return fmt.Errorf("drop-in of %s: %w", d.Unit, err)
	}
	if err := os.WriteFile(d.path(), []byte(text), 0o644); err != nil {
		return fmt.Errorf("drop-in of %s: %w", d.Unit, err)
	}
	return Run(ctx, "systemctl", "daemon-reload")
}

// Remove removes the drop-in, and has systemd notice. It is not an error if there is none.
func (d DropIn) Remove(ctx context.Context) error {
	err := os.Remove(d.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop-in of %s: %w", d.Unit, err)
	}
	_ = os.Remove(d.dir()) // stays if there are others in it
	return Run(ctx, "systemctl", "daemon-reload")
}

func (d DropIn) dir() string  { return filepath.Join("/run/systemd/system", d.Unit+".d") }
func (d DropIn) path() string { return filepath.Join(d.dir(), d.Name+".conf") }
