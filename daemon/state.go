package daemon

import (
	"superctl/config"
	"superctl/supervisor"
)

// ReadLast returns the last live release of an app whose daemon does not run, from its state
// directory.
func ReadLast(c *config.Config) (supervisor.Last, error) { return supervisor.ReadLast(c.State, c.App) }

// Owner returns the user of an app's current or last daemon: the owner of its state directory. ok
// is false if no daemon has run yet.
func Owner(c *config.Config) (uid uint32, ok bool, err error) { return supervisor.StateOwner(c.State) }

// CheckState returns why the daemon of an app cannot start with the state that is there.
func CheckState(c *config.Config) error { return supervisor.CheckStateOf(c.State, c.App) }
