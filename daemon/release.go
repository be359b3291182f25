package daemon

import (
	"context"
	"errors"

	"superctl/config"
	"superctl/releases"
	"superctl/supervisor"
)

// onDisk is what the supervisor asks about the directories of its releases.
type onDisk struct {
	config *config.Config
	store  *releases.Store
}

// point points the current link to a release.
func (od onDisk) point(r supervisor.Release) error {
	return errors.Join(od.store.Point(r.Path), releases.Gone(r.Path))
}

// moved returns the target of the current link if it is not the release.
func (od onDisk) moved(r supervisor.Release) string { return od.store.Moved(r.Path) }

// broken returns why no worker can be started from a release, or nil. It starts nothing.
func (od onDisk) broken(r supervisor.Release) error {
	found, err := od.store.Get(r.Path)
	if err != nil {
		return err
	}
	return od.check(found)
}

// noWayBack returns why a rollback cannot go to a release, or nil. It starts nothing.
func (od onDisk) noWayBack(r supervisor.Release) error {
	found, err := hasRun(context.Background(), od.config, od.store, &r, true)
	if err != nil {
		return err
	}
	return od.check(found)
}

// check checks a release that was live.
func (od onDisk) check(found releases.Release) error {
	if found.Unfinished != nil && errors.Is(found.Broken, found.Unfinished) {
		found.Broken = nil // it went live, so it was complete
	}
	return found.Check(context.Background(), releases.CheckOptions{NoVirtualenv: !od.config.Virtualenv})
}

// replaced reports whether the directory of a release is another one than when it was planned.
func (od onDisk) replaced(r supervisor.Release) bool {
	is := releases.Identity(r.Path)
	return r.Directory != "" && is != "" && is != r.Directory
}

// watch calls changed whenever a release may have been lost, until ctx ends.
func (od onDisk) watch(ctx context.Context, r supervisor.Release, changed func()) error {
	return od.store.Watch(ctx, r.Path, changed)
}
