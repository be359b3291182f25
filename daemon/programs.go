package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/config"
	"superctl/releases"
	"superctl/supervisor/worker"
)

// MissingPrograms returns a message for each scheduled command, and each hook after a change, whose program
// a release does not find. They do not keep it from being live.
func MissingPrograms(c *config.Config, r releases.Release) []string {
	return missingPrograms(c, r, environment(c, r, c.User, "", nil))
}

func missingPrograms(c *config.Config, r releases.Release, env Environ) (texts []string) {
	note := func(where string, command []string) {
		if err := lookPath(command[0], env.List(), r.Path); err != nil {
			texts = append(texts, fmt.Sprintf("%s cannot run in release %s: %v", where, r.Name, err))
		}
	}
	for i := range c.Crons {
		note("cron."+c.Crons[i].Name, c.Crons[i].Command)
	}
	for _, h := range []struct {
		name     string
		commands [][]string
	}{{"hooks.after", c.Hooks.After}, {"hooks.on_abort", c.Hooks.OnAbort}, {"hooks.on_revert", c.Hooks.OnRevert}} {
		for _, command := range h.commands {
			note(h.name, command)
		}
	}
	return texts
}

// CheckHooks returns an error if a release does not find the program of a hook before a change, which
// every switch would be aborted by.
func CheckHooks(c *config.Config, r releases.Release) (err error) {
	env := environment(c, r, c.User, "", nil)
	for _, command := range c.Hooks.Before {
		if missing := lookPath(command[0], env.List(), r.Path); missing != nil {
			err = errors.Join(err, fmt.Errorf("hooks.before cannot run in release %s: %w", r.Name, missing))
		}
	}
	return err
}

// CheckPrograms returns an error if a release does not find the program of a process, or of a command that
// checks its health.
func CheckPrograms(c *config.Config, r releases.Release, p config.Process) (err error) {
	env := environment(c, r, cmp.Or(p.User, c.User), "", p.Env)
	list := slices.Concat(env.List(), env.templates())
	note := func(what, program string) {
		if missing := lookPath(program, list, r.Path); missing != nil {
			err = errors.Join(err, fmt.Errorf("process.%s%s cannot run in release %s: %w", p.Name, what, r.Name, missing))
		}
	}
	note("", completed(c, r, p, env, bridgePath(c)).Command[0])
	if p.Health == nil {
		return err
	}
	for _, check := range p.Health.Checks() {
		if len(check.Command) > 0 {
			note(".health", check.Command[0])
		}
	}
	return err
}

// lookPath returns an error if a program does not exist, or must not be executed where it is.
func lookPath(name string, env []string, dir string) error {
	path, err := worker.LookPath(name, env, dir)
	if err != nil || strings.Contains(name, "{") { // the start of a worker replaces placeholders
		return err
	}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("%s is on a file system that is mounted noexec: mount it with exec", path)
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return fmt.Errorf("execute %s: %w", path, err)
	}
	return nil
}
