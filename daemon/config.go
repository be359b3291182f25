package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"superctl/config"
	"superctl/supervisor"
)

// keptName is the file of the state directory that holds the config which was read last.
const keptName = "config.toml"

// keep keeps a copy of a config that could be read: a daemon that starts after a crash must not
// fail because somebody is editing it.
func keep(c *config.Config) error {
	data, err := os.ReadFile(c.Path)
	if err == nil {
		err = supervisor.ReplaceFile(filepath.Join(c.State, keptName), data)
	}
	if err != nil {
		return fmt.Errorf("keep a copy of the config: %w", err)
	}
	return nil
}

// ConfigError says that a config cannot be used: the operator must mend it.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap is what is wrong with it.
func (e *ConfigError) Unwrap() error { return e.Err }

// loadOrKept reads a config, or the copy of it that was kept: then broken says what is wrong with
// it now. A config that was never read before has no copy.
func loadOrKept(path string) (c *config.Config, broken error) {
	c, err := config.Load(path)
	if err == nil {
		return c, nil
	}
	broken = &ConfigError{err}
	app, state := config.State(path)
	data, err := os.ReadFile(filepath.Join(state, keptName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, broken
	}
	if err != nil {
		return nil, errors.Join(broken, err)
	}
	if c, err = config.Parse(path, data); err != nil || c.App != app {
		return nil, broken
	}
	return c, broken
}
