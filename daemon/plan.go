package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/releases"
	"superctl/servers"
	"superctl/supervisor"
	"superctl/supervisor/worker"
)

// interpreterTime limits the test run of a release's interpreter.
const interpreterTime = 20 * time.Second

// makePlan checks a release and returns its plan by the config.
func (p *planner) makePlan(ctx context.Context, f found, t supervisor.Target) (supervisor.Plan, error) {
	c, r := f.config, f.release
	if err := f.store.Pointable(); err != nil {
		return supervisor.Plan{}, err
	}
	if err := r.Check(ctx, releases.CheckOptions{NoVirtualenv: !c.Virtualenv}); err != nil {
		return supervisor.Plan{}, err
	}
	common, err := p.commonEnvironment(f, t)
	if err != nil {
		return supervisor.Plan{}, err
	}
	plan := supervisor.Plan{
		Release: supervisor.Release{Name: r.Name, Path: r.Path, Commit: r.Commit, Directory: releases.Identity(r.Path)},
		Config:  c.Sum, Probation: c.Probation, Standby: c.Standby, Settle: c.Settle,
		Hooks: makeHooks(c, r, common), Shared: c.Shared, Warnings: cautions(c, r, common, t.Kind), Check: tryInterpreter(c, r, common),
	}
	for _, a := range c.Assets {
		plan.Assets = append(plan.Assets, supervisor.Assets(a))
	}
	for i := range c.Crons {
		plan.Cron = append(plan.Cron, makeCron(&c.Crons[i]))
	}
	if plan.Inspect, err = projectOf(c, r); err != nil {
		return supervisor.Plan{}, err
	}
	for _, one := range c.Processes {
		env, err := p.processEnvironment(f, one, t)
		if err != nil {
			return supervisor.Plan{}, err
		}
		process, err := makeProcess(c, r, one, env, p.bridge(c))
		if err != nil {
			return supervisor.Plan{}, err
		}
		plan.Processes = append(plan.Processes, process)
	}
	return plan, nil
}

// cautions returns what an operator should know before a release goes live: keys of the config that
// have no effect, scheduled commands that cannot run, a marker of a copy that may be in progress, and newer
// releases that were skipped.
func cautions(c *config.Config, r releases.Release, env Environ, kind supervisor.Kind) []string {
	list := append(slices.Clone(c.Ignored), missingPrograms(c, r, env)...)
	if r.Unfinished != nil && kind == supervisor.Switch {
		list = append(list, fmt.Sprintf("release %s: %v", r.Name, r.Unfinished))
	}
	for _, newer := range r.Skipped {
		list = append(list, "latest is "+r.Name+": skipped "+newer)
	}
	return list
}

// tryInterpreter returns the check of a plan: the release's interpreter must run. It returns nil
// for an app without a virtualenv.
func tryInterpreter(c *config.Config, r releases.Release, env Environ) func(context.Context) error {
	if !c.Virtualenv {
		return nil
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(
			ctx, interpreterTime, fmt.Errorf("no answer within %s", interpreterTime),
		)
		defer cancel()
		return r.Try(ctx, func(ctx context.Context, args ...string) (string, error) {
			return bounded(ctx, func() (string, error) {
				return runAs(ctx, c.User, merge(env.List(), []string{"PYTHONDONTWRITEBYTECODE=1"}), r.Path, args)
			})
		})
	}
}

// environment returns the environment of a program of the app, with a copy of the unit's
// credentials for its user.
func (p *planner) environment(
	c *config.Config, r releases.Release, u *config.User, own []config.Variable,
) (Environ, error) {
	dir, err := p.credentials.directory(c, u)
	return environment(c, r, u, dir, own), err
}

// commonEnvironment returns the environment of hooks and of everything else that is no process.
func (p *planner) commonEnvironment(f found, t supervisor.Target) (Environ, error) {
	c := f.config
	if err := p.credentials.check(c, c.User); err != nil {
		return nil, err
	}
	env, err := p.environment(c, f.release, c.User, nil)
	if err == nil && !t.DryRun {
		err = p.secrets.store(c, env, c.User)
	}
	return env, err
}

// processEnvironment returns the environment of a process for a plan. It has all required variables.
func (p *planner) processEnvironment(f found, one config.Process, t supervisor.Target) (Environ, error) {
	user := cmp.Or(one.User, f.config.User)
	env, err := p.environment(f.config, f.release, user, one.Env)
	if err == nil {
		err = checkRequired(f.config, env, "process."+one.Name)
	}
	if err == nil && !t.DryRun {
		err = p.secrets.store(f.config, env, user)
	}
	return env, err
}

func makeHooks(c *config.Config, r releases.Release, env Environ) supervisor.Hooks {
	h := &c.Hooks
	return supervisor.Hooks{
		Before: h.Before, After: h.After, OnAbort: h.OnAbort, OnRevert: h.OnRevert, BeforeRollback: h.BeforeRollback,
		Once: h.Once,
		Env:  env.List(), Secrets: env.Secrets(), Dir: r.Path, User: c.User.Become(), Timeout: h.Timeout,
	}
}

func makeCron(c *config.Cron) supervisor.Cron {
	return supervisor.Cron{
		Name: c.Name, Schedule: c.Schedule, Timezone: c.Timezone, Command: c.Command, Overlap: supervisor.CronOverlap(c.Overlap),
		Timeout: c.Timeout, One: c.One,
	}
}

func runAs(ctx context.Context, u *config.User, env []string, dir string, args []string) (string, error) {
	var out strings.Builder
	err := worker.Run(ctx, worker.Command{Args: args, Env: env, Dir: dir, User: u.Become()}, func(line string) {
		out.WriteString(line + "\n")
	})
	return out.String(), err
}

// bridge returns the path of the listener bridge.
func (p *planner) bridge(c *config.Config) string {
	if p.trial != "" {
		return bridgeIn(p.trial, c.App)
	}
	return bridgePath(c)
}

func makeProcess(
	c *config.Config, r releases.Release, p config.Process, env Environ, bridge string,
) (supervisor.Process, error) {
	done := completed(c, r, p, env, bridge)
	if len(done.Problems) > 0 {
		return supervisor.Process{}, fmt.Errorf("%s: process.%s: %s", c.Path, p.Name, strings.Join(done.Problems, "; "))
	}
	if done.Bridged {
		if err := writeBridge(bridge); err != nil {
			return supervisor.Process{}, fmt.Errorf("process.%s: %w", p.Name, err)
		}
	}
	out := supervisor.Process{
		Name: p.Name, Server: done.Server, Command: done.Command, Env: env.List(), Templates: env.templates(), Secrets: env.Secrets(),
		EnvFrom: env.origins(), Dir: r.Path, User: cmp.Or(p.User, c.User).Become(), Listen: p.Listen,
		ExtraListen: slices.Concat(p.ExtraListen, done.Opens), HideListen: done.HideListen, After: p.After,
		Instances: p.Instances, Strategy: p.Strategy, Hold: p.Hold, HoldPage: p.HoldPage, Surge: p.Surge,
		StopSignal: cmp.Or(p.StopSignal, int(done.StopSignal)),
		Drain:      p.Drain, DrainConnections: p.DrainConnections, Notify: p.Notify, StartTimeout: p.StartTimeout,
		ReadyAfter: p.ReadyAfter,
		Hook:       Hooked(p, done), Flag: flagged(p, done), Counts: counts(p, done), HookWait: hookWait(p, done),
		AnswerWait: waitForAnswers(p),
		NoFile:     p.NoFile, MemoryMax: p.MemoryMax, CPUWeight: p.CPUWeight,
		Guard: makeGuard(p.Guard), Recycle: makeRecycle(p.Recycle),
	}
	if p.Health != nil {
		out.Health = p.Health.WithProtocol(done.Protocol)
		if err := MayRunChecks(c, p); err != nil {
			return out, fmt.Errorf("%s: process.%s: %w", c.Path, p.Name, err)
		}
	}
	if _, err := worker.LookPath(done.Command[0], slices.Concat(out.Env, out.Templates), r.Path); err != nil {
		return out, &releases.BrokenError{Release: r.Name, Err: fmt.Errorf("process.%s: %w", p.Name, err)}
	}
	return out, nil
}

// MayRunChecks refuses to run code of a release as root unless the config says so.
func MayRunChecks(c *config.Config, p config.Process) error {
	if os.Geteuid() == 0 && cmp.Or(p.User, c.User) == nil && p.Health != nil && p.Health.HasExec() {
		return errors.New(`its health check would run a command as root: set user, or user = "root" to allow it`)
	}
	return nil
}

// CommandOf returns the command of a process as it runs in a release. r may be the zero value if
// there is no release yet.
func CommandOf(c *config.Config, r releases.Release, p config.Process) servers.Applied {
	return completed(c, r, p, environment(c, r, cmp.Or(p.User, c.User), "", p.Env), bridgePath(c))
}

// completed returns the command of a process as it runs in a release. r may be the zero value.
func completed(c *config.Config, r releases.Release, p config.Process, env Environ, bridge string) servers.Applied {
	in := servers.Input{
		Command: p.Command, Release: r.Path, Listen: p.Listen, Bridge: bridge, Drain: p.Drain, Server: p.Server,
		Env: slices.Concat(env.List(), env.templates()), Single: p.Strategy == api.Single,
	}
	for _, name := range p.Listen {
		i := slices.IndexFunc(c.Listen, func(l config.Listen) bool { return l.Name == name })
		in.Unix = append(in.Unix, c.Listen[i].Address.Path())
	}
	return servers.Apply(in)
}

func makeRecycle(r *config.Recycle) *supervisor.Recycle {
	if r == nil {
		return nil
	}
	return &supervisor.Recycle{Memory: r.Memory, Every: r.Every, Requests: r.Requests, Interval: r.Interval}
}

func makeGuard(g *config.Guard) *supervisor.Guard {
	if g == nil {
		return nil
	}
	out := &supervisor.Guard{Off: g.Off, Warn: g.Warn, Points: g.Points, Factor: g.Factor, Control: g.Control}
	if g.Latency != nil {
		out.Latency = &supervisor.GuardLatency{Warn: g.Latency.Warn, Slower: g.Latency.Slower}
	}
	if g.Rate != nil {
		out.Rate = &supervisor.GuardRate{Warn: g.Rate.Warn}
	}
	return out
}
