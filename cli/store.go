package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"superctl/config"
	"superctl/daemon/control"
	"superctl/releases"
)

// storeOf is the app's releases.
func storeOf(c *config.Config) *releases.Store {
	return &releases.Store{Dir: c.Releases, Current: c.Current, Order: filepath.Join(c.State, "releases.json")}
}

// openStore is storeOf, after a look at the directory.
func openStore(c *config.Config) (*releases.Store, error) {
	s, err := releases.Open(c.Releases, c.Current)
	if err != nil {
		return nil, err
	}
	s.Order = storeOf(c).Order
	return s, nil
}

// broken says why no worker can be started from the release at path any more. It starts nothing.
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

// checkRunning looks whether what a running daemon has live, and would go back to, is still there, and whether the link leads there.
func checkRunning(conf *config.Config, store *releases.Store, f *findings) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	if err != nil {
		return // none runs, or it is not for us to ask
	}
	for _, one := range []struct{ what, name string }{{"live", st.Release}, {"the one to go back to", st.Previous}} {
		path := filepath.Join(store.Dir, one.name)
		if one.name == "" {
			continue
		}
		if err := releases.Gone(path); err != nil { // what is there is among the others
			f.report(fmt.Errorf("%w (it is %s)", err, one.what), "")
		}
	}
	if to := store.Moved(filepath.Join(store.Dir, st.Release)); st.Release != "" && st.Changing == nil && to != "" {
		f.report(fmt.Errorf("the current link was moved to %s, and %s is live: superctl switch %s puts it back", to, st.Release, st.Release), "")
	}
}
