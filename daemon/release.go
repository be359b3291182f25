package daemon

import (
	"context"
	"errors"

	"superctl/config"
	"superctl/releases"
)

// broken returns why no worker can be started from the release at path, or nil. It starts nothing.
func broken(c *config.Config, s *releases.Store, path string) error {
	r, err := s.Get(path)
	if err != nil {
		return err
	}
	if r.Unfinished != nil && errors.Is(r.Broken, r.Unfinished) {
		r.Broken = nil // it went live, so it was complete
	}
	return r.Check(context.Background(), releases.CheckOptions{NoVirtualenv: !c.Virtualenv})
}
