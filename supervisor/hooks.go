package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
)

// errorLimit is how much of a change's error its hooks are told: the environment of a program is
// limited.
const errorLimit = 4 << 10

// hooked tells whether a change has hooks: those that bring another release or another config have.
func (c *change) hooked() bool { return slices.Contains([]Kind{Switch, Rollback, Reload}, c.kind) }

// beforeHooks runs the `before` hooks of a change that has them. From here on what the change has
// done is to be undone.
func (c *change) beforeHooks() error {
	c.begun = true
	if !c.runsBefore() {
		return nil
	}
	return c.step(stepBefore, func(ctx context.Context) (string, error) {
		return c.hooks(ctx, c.plan.Hooks.Before, "", nil)
	})
}

func (c *change) runsBefore() bool {
	h := &c.plan.Hooks
	return len(h.Before) > 0 && c.hooked() && (c.kind != Rollback || h.BeforeRollback)
}

// afterHooks runs the `after` hooks; one that fails undoes nothing.
func (c *change) afterHooks() { c.lateHooks(stepAfter, c.plan.Hooks.After, Done, nil) }

// undoneHooks runs the hooks for a change that has come to nothing. The end of the daemon is no
// such thing: what it leaves to do the next one knows.
func (c *change) undoneHooks(err error) {
	var rev *revertedError
	switch {
	case err == nil || errors.Is(err, ErrStopping):
	case errors.As(err, &rev):
		c.lateHooks(stepOnRevert, c.plan.Hooks.OnRevert, Reverted, err)
	case c.begun && !c.committed:
		c.lateHooks(stepOnAbort, c.plan.Hooks.OnAbort, Aborted, err)
	}
}

// lateHooks runs hooks behind the decision of the change, which they cannot alter any more. They do
// not listen to the change's ctx, which may have ended it: only the end of the daemon ends them.
func (c *change) lateHooks(name string, commands [][]string, result Result, cause error) {
	if len(commands) == 0 || !c.hooked() {
		return
	}
	if err := c.step(name, func(context.Context) (string, error) {
		return c.hooks(c.life, commands, result, cause)
	}); err != nil {
		c.warn("%v; that undoes nothing", err)
	}
}

// hooks runs commands one after the other in the new release; the first that fails ends them.
func (c *change) hooks(ctx context.Context, commands [][]string, result Result, cause error) (string, error) {
	t := newTranscript(c.stepNow(), c.emit, c.clean)
	defer func() { c.output = t.end() }()
	env := c.hookEnv(result, cause)
	for _, argv := range commands {
		t.add("$ " + strings.Join(argv, " "))
		if err := c.hook(ctx, argv, env, t); err != nil {
			return "", err
		}
	}
	if len(commands) == 1 {
		return "1 command", nil
	}
	return fmt.Sprintf("%d commands", len(commands)), nil
}

// hookEnv is the environment of a hook: the release's, and what the change is about.
func (c *change) hookEnv(result Result, cause error) []string {
	was := cmp.Or(c.was.release, &Release{})
	if c.req.Kind == start && c.was.previous != nil { // it finishes the change of an earlier daemon
		was = c.was.previous
	}
	env := append(slices.Clone(c.plan.Hooks.Env),
		"SUPERCTL_APP="+c.s.opt.App,
		"SUPERCTL_CHANGE="+string(c.kind),
		"SUPERCTL_WHO="+c.req.By(c.req.Who),
		"SUPERCTL_RELEASE="+c.plan.Release.Name,
		"SUPERCTL_COMMIT="+c.plan.Release.Commit,
		"SUPERCTL_PREVIOUS="+was.Name,
		"SUPERCTL_PREVIOUS_COMMIT="+was.Commit,
	)
	if result != "" {
		env = append(env, "SUPERCTL_OUTCOME="+string(result))
	}
	if cause != nil {
		text := c.clean(cause.Error())
		env = append(env, "SUPERCTL_ERROR="+text[:min(len(text), errorLimit)])
	}
	return env
}

func (c *change) hook(ctx context.Context, argv, env []string, t *transcript) error {
	limit := c.plan.Hooks.Timeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not finished within %s", limit))
	defer cancel()
	tail := worker.NewTail(tailLines)
	err := c.command(ctx, argv, env, func(line string) {
		tail.Add([]byte(line))
		t.add(line)
	})
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, ErrStopping) {
		return fmt.Errorf("hook %q: %w", strings.Join(argv, " "), err)
	}
	return commandFailed(api.Hook, argv, err, tail.Lines())
}

// commandFailed says that a hook or a check has failed.
func commandFailed(culprit api.Culprit, argv []string, err error, log []string) *failure {
	f := &failure{reason: fmt.Sprintf("%s %q: %v", culprit, strings.Join(argv, " "), err), culprit: culprit, log: log}
	var exit *worker.ExitError
	if errors.As(err, &exit) && exit.Signal == 0 {
		f.exit = &exit.Code
	}
	return f
}

// command runs a command in the new release. Where there are control groups it has one of its own,
// which belongs to no generation: nothing that it leaves behind can hide, from the next daemon
// neither.
func (c *change) command(ctx context.Context, argv, env []string, line func(string)) error {
	h := &c.plan.Hooks
	group, err := c.s.opt.Cgroups.Make(0, "hook.0", cgroup.Limits{})
	if err != nil {
		c.s.log.Error("control group", zap.Strings("command", argv), zap.Error(err))
	}
	err = c.s.os.run(
		ctx,
		worker.Command{
			Args: argv, Env: env, Secrets: h.Secrets, Dir: h.Dir, User: h.User, Mark: c.s.mark(), Cgroup: group,
		},
		line,
	)
	if gone := c.s.opt.Cgroups.Remove(group); gone != nil {
		c.s.log.Error("what a command left behind", zap.Strings("command", argv), zap.Error(gone))
	}
	return err
}

func (c *change) stepNow() (name string) {
	_ = c.s.do(func() { name = c.stepName })
	return name
}

// owesAfter tells whether the end of the last daemon has kept the `after` hooks of a change from
// having run to their end.
func owesAfter(was *ChangeStatus) bool {
	return was != nil &&
		slices.Contains(
			[]string{stepCutover, stepProve, stepFollow, stepSettle, stepProbation, stepRetire, stepAfter}, was.Step,
		)
}
