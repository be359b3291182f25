package daemon

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/releases"
	"superctl/supervisor"
)

// scratchDir is where the scratch directories of the generations are: beside the sockets that all workers can reach.
func scratchDir(c *config.Config) string {
	return filepath.Join(filepath.Dir(c.Control), c.App+".scratch")
}

// sharedMemory is in memory on every Linux (shm_overview(7)).
const sharedMemory = "/dev/shm"

// valuesDir is where the values of variables are kept for the next daemon: in memory, beside the control socket where that is in memory.
// "" where nothing is: the next daemon then reads the config anew.
func valuesDir(c *config.Config) string {
	beside := filepath.Join(filepath.Dir(c.Control), c.App+".environment")
	if credentials.InMemory(beside) {
		return beside
	}
	sum := sha256.Sum256([]byte(c.State))
	dir := filepath.Join(sharedMemory, fmt.Sprintf("superctl-%d-%s-%s", os.Geteuid(), c.App, hex.EncodeToString(sum[:4])))
	if credentials.InMemory(dir) {
		return dir
	}
	return ""
}

// readValues fills in the variables of an earlier daemon's plan from the config as it is now.
func (p *planner) readValues(plan *supervisor.Plan) error {
	c, err := loadOrKept(p.path)
	if c == nil {
		return err
	}
	store, err := releases.Open(c.Releases, c.Current)
	if err != nil {
		return err
	}
	r, err := store.Get(plan.Release.Path)
	if err != nil {
		return err
	}
	common, err := p.environment(c, r, c.User, nil)
	if err != nil {
		return err
	}
	plan.Hooks.Env = common.List()
	for i := range plan.Processes {
		process := &plan.Processes[i]
		env := common
		for _, one := range c.Processes {
			if one.Name != process.Name {
				continue
			}
			if env, err = p.environment(c, r, cmp.Or(one.User, c.User), one.Env); err != nil {
				return err
			}
		}
		process.Env, process.Templates = env.List(), env.templates()
	}
	return nil
}
