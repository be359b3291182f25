package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"go.uber.org/zap"

	"superctl/config"
	"superctl/supervisor"
)

// keptName is the file in the state directory with the last config that was read and valid.
const keptName = "config.toml"

// keep saves a copy of a valid config, so that a daemon can start after a crash while an operator
// is editing the file.
func keep(c *config.Config) error {
	path := filepath.Join(c.State, keptName)
	if kept, err := os.ReadFile(path); err == nil && bytes.Equal(kept, c.Text) {
		return nil
	}
	if err := supervisor.ReplaceFile(path, c.Text); err != nil {
		return fmt.Errorf("save a copy of the config: %w", err)
	}
	return nil
}

// note is a message for status, which the daemon sets and the supervisor asks for; "" = none.
type note struct{ kept atomic.Pointer[string] }

func (n *note) set(text string) { n.kept.Store(&text) }

func (n *note) text() string {
	if text := n.kept.Load(); text != nil {
		return *text
	}
	return ""
}

// checkConfig reports the errors and warnings of the config that the daemon starts with. broken is why
// that is not the one at path.
func (d *daemon) checkConfig(path string, broken error) {
	if broken == nil {
		d.keepConfig(d.config)
	} else {
		d.complaint.set("invalid config, so the last valid one is used: " + broken.Error())
	}
	if text := d.complaint.text(); text != "" {
		d.log.Error(text)
	}
	for _, w := range d.config.Warnings {
		d.log.Warn(w, zap.String("config", path))
	}
}

// keepConfig keeps a copy of a valid config. That it cannot must not take the site down: the disk may
// be full.
func (d *daemon) keepConfig(c *config.Config) {
	if err := keep(c); err != nil {
		d.complaint.set(err.Error() + "; superctl reload tries again")
		return
	}
	d.complaint.set("")
}

// readConfig takes note of a config that a change has just read.
func (d *daemon) readConfig(c *config.Config) {
	d.team.Configure(c.Notify)
	d.keepConfig(c)
	d.restart.set(needsRestart(d.config, c))
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
