package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/servers"
)

// notifyPath returns the path of the socket for READY=1 of workers.
func notifyPath(c *config.Config) string {
	return filepath.Join(filepath.Dir(c.Control), c.App+".notify")
}

// hookDir returns the directory of the drain hook and the workers' flags. Like scratchDir, it is in
// the directory of the control socket, which all workers can reach.
func hookDir(c *config.Config) string { return filepath.Join(filepath.Dir(c.Control), c.App+".drain") }

// scratchDir returns the directory of the generations' scratch directories.
func scratchDir(c *config.Config) string {
	return filepath.Join(filepath.Dir(c.Control), c.App+".scratch")
}

// sharedMemory is a file system in memory on every Linux (shm_overview(7)).
const sharedMemory = "/dev/shm"

// valuesDir returns the directory that keeps the values of variables for the next daemon. It is in
// memory: in the directory of the control socket if possible, else in /dev/shm. It returns "" if
// neither is in memory; the next daemon then reads the config again.
func valuesDir(c *config.Config) string {
	return inMemory(c, ".environment", strconv.Itoa(os.Geteuid()))
}

// secretsDir returns the directory with the values that secrets.command has printed, for each user
// of the app, or "" if there is no file system in memory. All users of the app can reach it.
func secretsDir(c *config.Config) string { return inMemory(c, ".secrets", "secrets") }

// inMemory returns a path in the directory of the control socket, if that is in memory, else a path
// in /dev/shm, else "". mark distinguishes the paths in /dev/shm.
func inMemory(c *config.Config, ending, mark string) string {
	byControl := filepath.Join(filepath.Dir(c.Control), c.App+ending)
	if credentials.InMemory(byControl) {
		return byControl
	}
	sum := sha256.Sum256([]byte(c.State))
	dir := filepath.Join(sharedMemory, fmt.Sprintf("superctl-%s-%s-%s", mark, c.App, hex.EncodeToString(sum[:4])))
	if credentials.InMemory(dir) {
		return dir
	}
	return ""
}

// bridgePath returns the path of the program that passes listeners to servers which cannot inherit
// them. It is in the directory of the control socket, because workers of another user must be able
// to read it. Its name changes with its content: a dead worker is respawned with the program that
// it was started with, even after an upgrade of superctl.
func bridgePath(c *config.Config) string { return bridgeIn(filepath.Dir(c.Control), c.App) }

func bridgeIn(dir, app string) string {
	sum := sha256.Sum256(servers.Bridge())
	return filepath.Join(dir, app+".bridge-"+hex.EncodeToString(sum[:4])+".py")
}
