package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"superctl/config"
	"superctl/servers"
)

// bridgePath is where the program is that hands listeners to servers which cannot take them themselves. Workers of another user must
// get at it, so it is beside the control socket and not in the state directory. Its name changes with its content, because a
// worker that dies is started again as it was, and a newer superctl must not change that.
func bridgePath(c *config.Config) string { return bridgeIn(filepath.Dir(c.Control), c.App) }

func bridgeIn(dir, app string) string {
	sum := sha256.Sum256(servers.Bridge())
	return filepath.Join(dir, app+".bridge-"+hex.EncodeToString(sum[:4])+".py")
}

// putBridge writes the program to its path, unless it is there.
func putBridge(path string) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, servers.Bridge()) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as for the control socket
		return err
	}
	if err := renameio.WriteFile(path, servers.Bridge(), 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write the program that hands over its listener: %w", err)
	}
	return nil
}
