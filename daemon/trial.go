package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/control"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/version"
)

// Try boots a release behind private gates, in a separate supervisor with a temporary state
// directory, and stops it once it is proved. It writes into no directory of the app. u is the user
// of the workers if the config names none; show is called with each event. The outcome has the kind
// "check".
func Try(
	ctx context.Context, conf *config.Config, u *config.User, word string, show func(api.Event),
) (out *api.Outcome, err error) {
	dir, err := os.MkdirTemp(TemporaryParent(), "superctl-check-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // workers of another user must reach the socket and the hook
		return nil, err
	}
	opt, err := trialOptions(conf, u, dir)
	if err != nil {
		return nil, err
	}
	s := supervisor.New(opt)
	stop, err := startTrial(ctx, s)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return nil, err
	}
	out, err = s.Change(ctx, api.Request{Kind: api.Switch, Release: word, Who: "check"}, func(ev api.Event) {
		if !startsNothing(conf, ev.Step) {
			show(ev)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case ctx.Err() != nil:
		return nil, errors.New("check: interrupted")
	}
	out.Kind, out.Previous, out.Changed, out.Generation = "check", "", false, 0
	out.Steps = slices.DeleteFunc(out.Steps, func(st api.Step) bool { return startsNothing(conf, st.Name) })
	return out, nil
}

// startsNothing reports whether a step would say that workers were started and proved in a trial that has
// none to start.
func startsNothing(conf *config.Config, step string) bool {
	serves := func(p config.Process) bool { return len(p.Listen) > 0 }
	return (step == api.StepBoot || step == api.StepProve) && !slices.ContainsFunc(conf.Processes, serves)
}

// startTrial runs a supervisor, and returns once it has started. stop is set even with an error.
func startTrial(ctx context.Context, s *supervisor.Supervisor) (stop func() error, err error) {
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	stop = func() error {
		cancel()
		if ctx.Err() != nil {
			s.KillAll() // its workers have no requests to finish
		}
		return <-ended
	}
	select {
	case <-s.Started():
		return stop, nil
	case err := <-ended:
		ended <- nil
		return stop, fmt.Errorf("check: %w", err)
	case <-ctx.Done():
		return stop, errors.New("check: interrupted")
	}
}

// trialOptions returns the options of a supervisor that tries one release.
func trialOptions(conf *config.Config, u *config.User, dir string) (supervisor.Options, error) {
	gates, err := makeGates(conf, nil, nil)
	if err != nil {
		return supervisor.Options{}, err
	}
	for i, g := range gates {
		if gates[i], err = g.Private(); err != nil {
			return supervisor.Options{}, err
		}
	}
	plans := &planner{path: conf.Path, trial: dir, user: u, secrets: new(secretSource)}
	return supervisor.Options{
		Trial: true, App: conf.App + "-check", Version: version.String(), State: filepath.Join(dir, "state"),
		Notify: filepath.Join(dir, "notify"),
		Hook:   filepath.Join(dir, "drain"), Scratch: filepath.Join(dir, "scratch"), Gates: gates, Log: zap.NewNop(),
		Resolve: func(ctx context.Context, t supervisor.Target) (supervisor.Plan, error) {
			if t.Kind != api.Switch {
				return supervisor.Plan{}, &supervisor.NoReleaseError{Reason: "this is a check"}
			}
			plan, err := plans.resolve(ctx, t)
			return forTrial(plan), err
		},
		Look: newLooker(conf).look,
		Share: func(plan supervisor.Plan, _ bool) (string, error) {
			return lookAtShared(plan, OwnerOf(conf), runsFrom(conf, plan.Release.Name))
		},
		Publish: func(ctx context.Context, plan supervisor.Plan) (string, error) {
			return lookAtAssets(ctx, plan, conf.State, len(conf.Hooks.Before) > 0)
		},
		Inspect: func(ctx context.Context, i supervisor.Inspection, line func(string)) (string, error) {
			i.Before, i.Live = true, livePlan(ctx, conf, plans)
			return inspectMigrations(ctx, i, line)
		},
	}, nil
}

// forTrial removes from a plan what a trial does not run: hooks, scheduled commands, background
// processes, and everything after the cutover.
func forTrial(plan supervisor.Plan) supervisor.Plan {
	plan.Probation, plan.Standby = 0, 0
	plan.Cron = nil
	plan.Hooks.Before, plan.Hooks.After, plan.Hooks.OnAbort, plan.Hooks.OnRevert = nil, nil, nil, nil
	plan.Processes = slices.DeleteFunc(plan.Processes, func(p supervisor.Process) bool { return len(p.Listen) == 0 })
	for i := range plan.Processes {
		p := &plan.Processes[i]
		if p.Strategy == api.Rolling {
			p.Instances = 1 // there may be no memory for all in addition to the live ones
		}
		p.Strategy = api.Overlap
		p.Env = merge(p.Env, []string{"PYTHONDONTWRITEBYTECODE=1"}) // nothing is written into the release
	}
	return plan
}

// lookAtShared returns text that names the shared paths that a switch would link into the release.
// It fails where the switch would fail.
func lookAtShared(plan supervisor.Plan, owner string, inUse bool) (string, error) {
	r := releases.Release{Name: plan.Release.Name, Path: plan.Release.Path}
	missing, err := r.Unshared(releases.Sharing{Paths: plan.Shared, InUse: inUse, Owner: owner})
	switch {
	case err != nil:
		return "", err
	case len(missing) == 0:
		return "all links exist", nil
	}
	return "tried without " + strings.Join(missing, ", ") + ", which a switch links", nil
}

// runsFrom reports whether a daemon has workers of a release.
func runsFrom(conf *config.Config, release string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control, conf.App).Status(ctx)
	return err == nil &&
		slices.ContainsFunc(st.Generations, func(g api.GenerationStatus) bool { return g.Release == release })
}

// livePlan returns the plan of the live release, or nil if no daemon runs or no release is live.
func livePlan(ctx context.Context, conf *config.Config, plans *planner) *supervisor.Plan {
	asked, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control, conf.App).Status(asked)
	if err != nil || st.Release == "" {
		return nil
	}
	plan, err := plans.resolve(ctx, supervisor.Target{Kind: api.Switch, Word: st.Release})
	if err != nil {
		return nil
	}
	return &plan
}
