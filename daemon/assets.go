package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/config"
	"superctl/plain"
	"superctl/releases"
	"superctl/releases/assets"
	"superctl/supervisor"
)

const (
	// refreshTime limits how long a change waits after its cutover until the static files follow. A
	// network file system whose server is down would block for ever.
	refreshTime  = 30 * time.Second
	firstRefresh = time.Second // delay before the static files are tried again
	lastRefresh  = 5 * time.Minute
)

// publisher publishes the static files of releases, and removes those that no release has any more.
type publisher struct {
	app, state, owner string
	store             *releases.Store
	log               *zap.Logger

	mu      sync.Mutex
	trouble *api.Trouble   // guarded by mu; nil = the static files are those of the live release
	stop    func()         // guarded by mu; ends working
	working sync.WaitGroup // what tries again, and sweeps: only one change at a time begins it
}

// assetSets returns the sets of static files of a plan.
func assetSets(list []supervisor.Assets, app, state, owner string) (sets []assets.Set) {
	for _, a := range list {
		sets = append(sets, assets.Set{
			Name: a.Name, App: app, From: a.From, To: a.To, Keep: a.Keep, State: state, Owner: owner,
		})
	}
	return sets
}

func (p *publisher) sets(plan *supervisor.Plan) []assets.Set {
	return assetSets(plan.Assets, p.app, p.state, p.owner)
}

func assetRelease(r supervisor.Release) assets.Release {
	return assets.Release{Name: r.Name, Path: r.Path}
}

// publish implements the supervisor's Publish.
func (p *publisher) publish(ctx context.Context, plan supervisor.Plan) (string, error) {
	return bounded(ctx, func() (string, error) {
		var texts []string
		for _, set := range p.sets(&plan) {
			res, err := set.Publish(ctx, assetRelease(plan.Release))
			if err != nil {
				return "", err
			}
			texts = append(texts, fmt.Sprintf("%s in %s, %d new", plain.Count(res.Files, "file", "files"), set.To, res.Added))
		}
		return strings.Join(texts, "; "), nil
	})
}

// refresh implements the supervisor's Refresh. What fails is tried again until it works or another
// release is live.
func (p *publisher) refresh(plan supervisor.Plan) error {
	p.end()
	ctx, stop := context.WithCancel(context.Background())
	p.mu.Lock()
	p.stop = stop
	p.mu.Unlock()
	err := p.refreshNow(ctx, &plan)
	p.note(err)
	p.working.Go(func() { p.complete(ctx, &plan, err != nil) })
	return err
}

// refreshNow makes the static files those of the plan's release.
func (p *publisher) refreshNow(ctx context.Context, plan *supervisor.Plan) error {
	ctx, cancel := context.WithTimeoutCause(ctx, refreshTime, fmt.Errorf(
		"static files: no end within %s: check whether a network file system is down", refreshTime))
	defer cancel()
	_, err := bounded(ctx, func() (assets.Result, error) {
		for _, set := range p.sets(plan) {
			if _, err := set.Refresh(ctx, assetRelease(plan.Release)); err != nil {
				return assets.Result{}, err
			}
		}
		return assets.Result{}, nil
	})
	return err
}

// complete does what does not hold up a change: it tries again what has failed, and sweeps.
func (p *publisher) complete(ctx context.Context, plan *supervisor.Plan, failed bool) {
	for delay := firstRefresh; ; delay = min(lastRefresh, 2*delay) {
		var err error
		if failed {
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return
			}
			err = p.refreshNow(ctx, plan)
		}
		if err == nil {
			err = p.sweep(ctx, plan)
		}
		if ctx.Err() != nil {
			return
		}
		if p.note(err); err == nil {
			return
		}
		failed = true
	}
}

// sweep removes the files that no release has had for long enough.
func (p *publisher) sweep(ctx context.Context, plan *supervisor.Plan) error {
	list, err := p.store.List()
	if err != nil {
		return err
	}
	kept := []assets.Release{assetRelease(plan.Release)}
	for _, r := range list {
		kept = append(kept, assets.Release{Name: r.Name, Path: r.Path})
	}
	for _, set := range p.sets(plan) {
		removed, err := bounded(ctx, func() (int, error) { return set.Sweep(ctx, kept, time.Now()) })
		if err != nil {
			return err
		}
		if removed > 0 {
			p.log.Info("removed static files that no release has any more",
				zap.String("directory", set.To), zap.Int("files", removed))
		}
	}
	return nil
}

// note keeps an error for status, and logs it once.
func (p *publisher) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil && p.trouble != nil:
		p.trouble = nil
		p.log.Info("the static files are complete again")
	case err == nil:
	case p.trouble == nil || p.trouble.Why != err.Error():
		p.trouble = &api.Trouble{Of: "static files", Since: time.Now(), Why: err.Error()}
		p.log.Error("static files", zap.Error(err))
	}
}

// troubles returns what does not work, for status.
func (p *publisher) troubles() []api.Trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble == nil {
		return nil
	}
	return []api.Trouble{*p.trouble}
}

// end ends what is tried again.
func (p *publisher) end() {
	p.mu.Lock()
	stop := p.stop
	p.mu.Unlock()
	if stop != nil {
		stop()
	}
	p.working.Wait()
}

// lookAtAssets returns text that says which static files a switch would publish. It fails where the
// switch would fail. Before hooks are not run for a trial, and may make the files.
func lookAtAssets(ctx context.Context, plan supervisor.Plan, state string, hooks bool) (string, error) {
	var texts []string
	for _, set := range assetSets(plan.Assets, "", state, "") {
		res, err := set.Look(ctx, assetRelease(plan.Release))
		missing := new(assets.MissingError)
		switch {
		case errors.As(err, &missing) && hooks:
			texts = append(texts, fmt.Sprintf("no %s yet: a before hook must make it", set.From))
		case err != nil:
			return "", err
		default:
			texts = append(texts, fmt.Sprintf("%s for %s", plain.Count(res.Files, "file", "files"), set.To))
		}
	}
	return strings.Join(texts, "; "), nil
}

// CheckAssets returns why the static files of an app cannot be published, by the name of their set,
// and the manifests that all releases share. The latter break a rollback: the old release would look
// up names in the manifest of the new one.
func CheckAssets(c *config.Config) (errs map[string]error, manifests []string) {
	errs = make(map[string]error)
	for _, a := range c.Assets {
		set := assets.Set{Name: a.Name, App: c.App, From: a.From, To: a.To, State: c.State, Owner: OwnerOf(c)}
		errs[a.Name] = set.Check()
		manifests = append(manifests, assets.SharedManifests(a.To)...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Shared)) {
		manifests = append(manifests, assets.SharedManifests(c.Shared[name])...)
	}
	return errs, manifests
}
