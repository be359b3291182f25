package supervisor

import (
	"context"
	"fmt"
	"strings"

	"superctl/supervisor/worker"
)

// hooks runs commands one after the other in the new release; the first that fails ends them.
func (c *change) hooks(ctx context.Context, commands [][]string) (string, error) {
	h := c.plan.Hooks
	env := append([]string{
		"SUPERCTL_APP=" + c.s.opt.App,
		"SUPERCTL_RELEASE=" + c.plan.Release.Name,
		"SUPERCTL_COMMIT=" + c.plan.Release.Commit,
		"SUPERCTL_PREVIOUS=" + previousName(c.was.release),
	}, h.Env...)
	for _, argv := range commands {
		if err := c.hook(ctx, argv, env); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d commands", len(commands)), nil
}

func previousName(r *Release) string {
	if r == nil {
		return ""
	}
	return r.Name
}

func (c *change) hook(ctx context.Context, argv, env []string) error {
	h := c.plan.Hooks
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, fmt.Errorf("not finished within %s", h.Timeout))
	defer cancel()
	tail := worker.NewTail(tailLines)
	step := c.stepNow()
	err := c.s.os.run(ctx, worker.Command{Args: argv, Env: env, Dir: h.Dir, User: h.User, Mark: c.s.mark()}, func(line string) {
		tail.Add([]byte(line))
		c.emit(Event{Type: "output", Step: step, Detail: line})
	})
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return &failure{reason: fmt.Sprintf("hook %q: %v", strings.Join(argv, " "), err), log: tail.Lines()}
}

func (c *change) stepNow() (name string) {
	_ = c.s.do(func() { name = c.stepName })
	return name
}
