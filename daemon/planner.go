package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/config"
	"superctl/releases"
	"superctl/supervisor"
)

// planner turns requests into plans: for each it reads the config again, finds the release and
// checks it.
type planner struct {
	path    string         // of the config file
	user    *config.User   // of the workers, if the config names none; nil = the user of this process
	trial   string         // directory for the files of a trial; "" = the directory of the control socket
	running *config.Config // the config that the daemon started with; nil = not a daemon

	credentials credentialSource
	secrets     *secretSource
	read        func(*config.Config) // called with each config that is read; may be nil
	mayStart    func() error         // why no release may be started without a request yet; nil = always
}

// resolveTime limits how long reading the config and checking the release may take. A network file
// system whose server is down would block for ever.
const resolveTime = 30 * time.Second

// resolve implements the supervisor's Resolve.
func (p *planner) resolve(ctx context.Context, t supervisor.Target) (supervisor.Plan, error) {
	found, err := reading(ctx, p.path, func(ctx context.Context) (found, error) { return p.find(ctx, t) })
	if err != nil {
		return supervisor.Plan{}, err
	}
	// The command has a limit of its own.
	if err := p.secrets.fetch(ctx, found.config, t, p.credentials.own(found.config)); err != nil {
		return supervisor.Plan{}, err
	}
	return reading(ctx, p.path, func(ctx context.Context) (supervisor.Plan, error) { return p.plan(ctx, found, t) })
}

// reading returns the result of f, which reads files, within resolveTime.
func reading[T any](ctx context.Context, path string, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, resolveTime, fmt.Errorf(
		"read the config %s and the release: no answer within %s: check whether a network file system is down", path,
		resolveTime,
	))
	defer cancel()
	return bounded(ctx, func() (T, error) { return f(ctx) })
}

// found is what a plan is made from.
type found struct {
	config  *config.Config
	store   *releases.Store
	release releases.Release
}

// bounded returns the result of f, or the cause of the end of ctx. A system call may block f for
// ever; its goroutine ends when the call returns.
func bounded[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	got := make(chan result, 1)
	go func() {
		value, err := f()
		got <- result{value, err}
	}()
	select {
	case r := <-got:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// find reads the config and finds the release of a target.
func (p *planner) find(ctx context.Context, t supervisor.Target) (found, error) {
	if t.Starting() && t.Live == nil && p.mayStart != nil {
		if err := p.mayStart(); err != nil {
			return found{}, err
		}
	}
	c, err := loadOrKept(p.path)
	if err != nil && (c == nil || !t.Starting()) {
		return found{}, err
	}
	if err := p.sameListeners(c); err != nil {
		return found{}, err
	}
	if c.User == nil {
		c.User = p.user
	}
	if ctx.Err() != nil {
		return found{}, context.Cause(ctx) // the caller has given up
	}
	p.noteConfig(c, t)
	// makes the copies for exec, check and install before a release is live
	if _, err := p.credentials.directory(c, c.User); err != nil {
		return found{}, err
	}
	store, err := c.OpenStore()
	if err != nil {
		return found{}, err
	}
	p.recordOrder(store, t)
	r, err := find(ctx, c, store, t)
	return found{c, store, r}, err
}

// plan checks what was found, and returns its plan.
func (p *planner) plan(ctx context.Context, f found, t supervisor.Target) (supervisor.Plan, error) {
	// A broken release has the better reason. A detour must not keep a site down at the start: current points to
	// this release then.
	if err := staysInside(f.config, f.release); err != nil && !t.Starting() && f.release.Broken == nil {
		return supervisor.Plan{}, err
	}
	plan, err := p.makePlan(ctx, f, t)
	if err == nil && !t.DryRun {
		p.credentials.removeUnused(f.config, plan)
	}
	return plan, err
}

// noteConfig passes on what was read, unless it is only looked at.
func (p *planner) noteConfig(c *config.Config, t supervisor.Target) {
	if p.read != nil && !t.DryRun {
		p.read(c)
	}
}

// recordOrder records in which order releases have appeared, if this is the daemon.
func (p *planner) recordOrder(store *releases.Store, t supervisor.Target) {
	if p.running == nil || t.DryRun {
		return
	}
	if err := store.Record(); err != nil && p.credentials.log != nil {
		p.credentials.log.Warn("record the order of the releases", zap.Error(err))
	}
}

// sameListeners refuses a config with other listeners: only a new daemon can open them.
func (p *planner) sameListeners(c *config.Config) error {
	if p.running == nil {
		return nil
	}
	if l := otherListener(p.running, c); l != "" {
		return fmt.Errorf(
			"%s: listen.%s is new or has changed, and only a new daemon can open it: run systemctl restart superctl@%s",
			c.Path, l, c.App,
		)
	}
	return nil
}

// find returns the release of a target.
func find(ctx context.Context, c *config.Config, store *releases.Store, t supervisor.Target) (releases.Release, error) {
	var refs releases.Refs
	if t.Live != nil {
		refs.Live = t.Live.Name
	}
	if t.Previous != nil {
		refs.Previous = t.Previous.Name
	}
	switch t.Kind {
	case api.Switch:
		r, err := store.Resolve(t.Word, refs)
		if err != nil {
			err = &supervisor.NoSuchReleaseError{Err: err}
		}
		return r, err
	case api.Rollback:
		return hasRun(ctx, c, store, t.Previous, false)
	case api.Reload, api.Restart:
		return hasRun(ctx, c, store, t.Live, false)
	default:
	}
	// A daemon starts: the release that was live, else the one that current points to.
	if t.Live != nil {
		return hasRun(ctx, c, store, t.Live, true)
	}
	r, err := store.CurrentTarget()
	if errors.Is(err, fs.ErrNotExist) && (store.Current == "" || !exists(store.Current)) {
		return r, &supervisor.NoReleaseError{Reason: "no release was live"}
	}
	return r, err
}

// hasRun returns a release that has run, from where it was then. If it cannot be started from there any
// more, and there is one of its name among the releases, it has moved with their directory. If complete,
// a marker of an unfinished copy is a leftover.
func hasRun(
	ctx context.Context, c *config.Config, store *releases.Store, was *supervisor.Release, complete bool,
) (releases.Release, error) {
	get := func(path string) (r releases.Release, works bool, err error) {
		r, err = store.Get(path)
		if complete && r.Unfinished != nil && errors.Is(r.Broken, r.Unfinished) {
			r.Broken = nil
		}
		return r, err == nil && r.Check(ctx, releases.CheckOptions{NoVirtualenv: !c.Virtualenv}) == nil, err
	}
	r, works, err := get(was.Path)
	if here := filepath.Join(store.Dir, was.Name); !works && here != was.Path {
		if moved, works, _ := get(here); works {
			return moved, nil
		}
	}
	return r, err
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }
