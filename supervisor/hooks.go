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

// hookRun runs the commands that the config has around a change.
type hookRun struct{ *change }

func (c *change) hooks() hookRun { return hookRun{c} }

// errorLimit is how much of a change's error its hooks are told: the environment of a program is
// limited.
const errorLimit = 4 << 10

// apply reports whether a change has hooks: those that bring another release or another config
// have.
func (hr hookRun) apply() bool { return turnsOver(hr.kind) }

// turnsOver reports whether a kind of change brings another release or another config.
func turnsOver(kind Kind) bool { return slices.Contains([]Kind{Switch, Rollback, Reload}, kind) }

// before runs the `before` hooks of a change that has them. From here on what the change has
// done is to be undone.
func (hr hookRun) before() error {
	hr.begun = true
	if !hr.runsBefore() {
		return nil
	}
	return hr.step(stepBefore, func(ctx context.Context) (string, error) {
		return hr.runAll(ctx, hr.mine(stepBefore, hr.plan.Hooks.Before), "", nil)
	})
}

// mine returns the commands of a list that this host runs.
func (hr hookRun) mine(list string, commands [][]string) (mine [][]string) {
	for i, argv := range commands {
		if !hr.req.Follower || !slices.Contains(hr.plan.Hooks.Once[list], i) {
			mine = append(mine, argv)
		}
	}
	return mine
}

func (hr hookRun) runsBefore() bool {
	h := &hr.plan.Hooks
	return len(hr.mine(stepBefore, h.Before)) > 0 && hr.apply() && (hr.kind != Rollback || h.BeforeRollback)
}

// after runs the `after` hooks; one that fails undoes nothing.
func (hr hookRun) after() { hr.late(stepAfter, hr.plan.Hooks.After, Done, nil) }

// undone runs the hooks for a change that has come to nothing. The end of the daemon is no
// such thing: what it leaves to do the next one knows.
func (hr hookRun) undone(err error) {
	var rev *revertedError
	switch {
	case err == nil || errors.Is(err, ErrStopping):
	case errors.As(err, &rev):
		hr.late(stepOnRevert, hr.plan.Hooks.OnRevert, Reverted, err)
	case hr.begun && !hr.committed:
		hr.late(stepOnAbort, hr.plan.Hooks.OnAbort, Aborted, err)
	}
}

// late runs hooks behind the decision of the change, which they cannot alter any more. They do
// not listen to the change's ctx, which may have ended it: only the end of the daemon ends them.
func (hr hookRun) late(name string, commands [][]string, result Result, cause error) {
	if commands = hr.mine(name, commands); len(commands) == 0 || !hr.apply() {
		return
	}
	if err := hr.step(name, func(context.Context) (string, error) {
		return hr.runAll(hr.life, commands, result, cause)
	}); err != nil {
		hr.warn("%v; the change stands", err)
	}
}

// runAll runs commands one after the other in the new release; the first that fails ends them.
func (hr hookRun) runAll(ctx context.Context, commands [][]string, result Result, cause error) (string, error) {
	t := newTranscript(hr.stepNow(), hr.emit, hr.clean)
	defer func() { hr.output = t.end() }()
	env := hr.env(result, cause)
	for _, argv := range commands {
		t.add("$ " + strings.Join(argv, " "))
		if err := hr.run(ctx, argv, env, t); err != nil {
			return "", err
		}
	}
	if len(commands) == 1 {
		return "1 command", nil
	}
	return fmt.Sprintf("%d commands", len(commands)), nil
}

// env is the environment of a hook: the release's, and what the change is about.
func (hr hookRun) env(result Result, cause error) []string {
	was := cmp.Or(hr.was.release, &Release{})
	if hr.req.Kind == start && hr.was.previous != nil { // it finishes the change of an earlier daemon
		was = hr.was.previous
	}
	env := append(slices.Clone(hr.plan.Hooks.Env),
		"SUPERCTL_APP="+hr.owner.opt.App,
		"SUPERCTL_CHANGE="+string(hr.kind),
		"SUPERCTL_WHO="+hr.req.By(hr.req.Who),
		"SUPERCTL_RELEASE="+hr.plan.Release.Name,
		"SUPERCTL_COMMIT="+hr.plan.Release.Commit,
		"SUPERCTL_PREVIOUS="+was.Name,
		"SUPERCTL_PREVIOUS_COMMIT="+was.Commit,
	)
	if hr.req.Run != "" {
		env = append(env, "SUPERCTL_RUN="+hr.req.Run, "SUPERCTL_BY="+hr.req.Behalf)
	}
	if result != "" {
		env = append(env, "SUPERCTL_OUTCOME="+string(result))
	}
	if cause != nil {
		text := hr.clean(cause.Error())
		env = append(env, "SUPERCTL_ERROR="+text[:min(len(text), errorLimit)])
	}
	return env
}

func (hr hookRun) run(ctx context.Context, argv, env []string, t *transcript) error {
	limit := hr.plan.Hooks.Timeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not finished within %s", limit))
	defer cancel()
	tail := worker.NewTail(tailLines)
	err := hr.command(ctx, argv, env, func(line string) {
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
func (hr hookRun) command(ctx context.Context, argv, env []string, line func(string)) error {
	h := &hr.plan.Hooks
	group, err := hr.owner.opt.Cgroups.Make(0, "hook.0", cgroup.Limits{})
	if err != nil {
		hr.owner.log.Error("control group", zap.Strings("command", argv), zap.Error(err))
	}
	err = hr.owner.os.run(
		ctx,
		worker.Command{
			Args: argv, Env: env, Secrets: h.Secrets, Dir: h.Dir, User: h.User, Mark: hr.owner.mark(), Cgroup: group,
		},
		line,
	)
	if gone := hr.owner.opt.Cgroups.Remove(group); gone != nil {
		hr.owner.log.Error("what a command left behind", zap.Strings("command", argv), zap.Error(gone))
	}
	return err
}

func (c *change) stepNow() string {
	return ask(c.owner.core, func() string { return c.stepName })
}

// owesAfter reports whether the end of the last daemon has kept the `after` hooks of a change from
// having run to their end.
func owesAfter(was *ChangeStatus) bool {
	return was != nil &&
		slices.Contains(
			[]string{stepCutover, stepProve, stepFollow, stepSettle, stepProbation, stepRetire, stepAfter}, was.Step,
		)
}
