package daemon

import (
	"superctl/config"
	"superctl/supervisor"
)

// ReadLast returns what was live last of an app whose daemon does not run, from its state
// directory.
func ReadLast(c *config.Config) (supervisor.Last, error) { return supervisor.ReadLast(c.State, c.App) }

// Owner returns the user as whom the daemon of an app runs, or ran last: the owner of its state
// directory. Not ok if no daemon has run yet.
func Owner(c *config.Config) (uid uint32, ok bool, err error) { return supervisor.StateOwner(c.State) }
