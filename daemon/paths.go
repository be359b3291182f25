package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/servers"
)

// notifyPath is where the socket is on which workers say READY=1.
func notifyPath(c *config.Config) string {
	return filepath.Join(filepath.Dir(c.Control), c.App+".notify")
}

// hookDir is where the drain hook and the workers' flags are: beside the sockets that all workers
// can reach.
func hookDir(c *config.Config) string { return filepath.Join(filepath.Dir(c.Control), c.App+".drain") }

// scratchDir is where the scratch directories of the generations are: beside the sockets that all
// workers can reach.
func scratchDir(c *config.Config) string {
	return filepath.Join(filepath.Dir(c.Control), c.App+".scratch")
}

// sharedMemory is in memory on every Linux (shm_overview(7)).
const sharedMemory = "/dev/shm"

// valuesDir is where the values of variables are kept for the next daemon: in memory, beside the
// control socket where that is in memory. "" where nothing is: the next daemon then reads the
// config anew.
func valuesDir(c *config.Config) string {
	beside := filepath.Join(filepath.Dir(c.Control), c.App+".environment")
	if credentials.InMemory(beside) {
		return beside
	}
	sum := sha256.Sum256([]byte(c.State))
	dir := filepath.Join(
		sharedMemory, fmt.Sprintf("superctl-%d-%s-%s", os.Geteuid(), c.App, hex.EncodeToString(sum[:4])),
	)
	if credentials.InMemory(dir) {
		return dir
	}
	return ""
}

// bridgePath is where the program is that hands listeners to servers which cannot take them
// themselves. Workers of another user must get at it, so it is beside the control socket and not in
// the state directory. Its name changes with its content, because a worker that dies is started
// again as it was, and a newer superctl must not change that.
func bridgePath(c *config.Config) string { return bridgeIn(filepath.Dir(c.Control), c.App) }

func bridgeIn(dir, app string) string {
	sum := sha256.Sum256(servers.Bridge())
	return filepath.Join(dir, app+".bridge-"+hex.EncodeToString(sum[:4])+".py")
}
