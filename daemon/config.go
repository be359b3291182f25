package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"superctl/config"
	"superctl/supervisor"
)

// keptName is the file in the state directory with the last config that was valid.
const keptName = "config.toml"

// keep saves a copy of a valid config, so that a daemon can start after a crash while an operator
// is editing the file.
func keep(c *config.Config) error {
	data, err := os.ReadFile(c.Path)
	if err == nil {
		err = supervisor.ReplaceFile(filepath.Join(c.State, keptName), data)
	}
	if err != nil {
		return fmt.Errorf("save a copy of the config: %w", err)
	}
	return nil
}

// ConfigError is an error in the config that the operator must correct.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong with the config.
func (e *ConfigError) Unwrap() error { return e.Err }

// loadOrKept reads a config. If it is invalid, loadOrKept returns the copy of the last valid one,
// or nil if there is none, and in broken why the file is invalid.
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
