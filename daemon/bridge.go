package daemon

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"superctl/servers"
)

// putBridge writes the program to its path, unless it is there.
func putBridge(path string) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, servers.Bridge()) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // as for the control socket
		return err
	}
	if err := renameio.WriteFile(
		path, servers.Bridge(), 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(path)),
	); err != nil {
		return fmt.Errorf("write the program that hands over its listener: %w", err)
	}
	return nil
}
