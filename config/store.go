package config

import (
	"path/filepath"

	"superctl/releases"
)

// Store returns the app's releases, without a look at their directory.
func (c *Config) Store() *releases.Store {
	return &releases.Store{Dir: c.Releases, Current: c.Current, Order: filepath.Join(c.State, "releases.json")}
}

// OpenStore returns the app's releases, or why their directory cannot be used.
func (c *Config) OpenStore() (*releases.Store, error) {
	s, err := releases.Open(c.Releases, c.Current)
	if err != nil {
		return nil, err
	}
	s.Order = c.Store().Order
	return s, nil
}

// HistoryPath is the file with the outcome of each change.
func (c *Config) HistoryPath() string { return filepath.Join(c.State, "history.jsonl") }
