package daemon

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"superctl/servers"
)

// writeBridge writes the program that passes listeners to servers which cannot inherit them. It
// does nothing if the file has the right content.
func writeBridge(path string) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, servers.Bridge()) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // as for the control socket
		return err
	}
	if err := renameio.WriteFile(
		path, servers.Bridge(), 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(path)),
	); err != nil {
		return fmt.Errorf("write the listener bridge: %w", err)
	}
	return nil
}
