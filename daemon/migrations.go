package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"superctl/config"
	"superctl/daemon/django"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/supervisor/worker"
)

// inspectTime limits how long a release may take to report its migrations: it imports the whole
// project for that.
const inspectTime = time.Minute

// maxNamed is the number of migrations that a message names.
const maxNamed = 10

// scriptLimit is the size of the largest hook script that is searched for migrate, in bytes.
const scriptLimit = 64 << 10

// projectOf returns what inspectMigrations needs to know of a release, encoded for the supervisor,
// or nil if the config does not ask for the check.
func projectOf(c *config.Config, r releases.Release) (json.RawMessage, error) {
	if !c.Django.Check {
		return nil, nil
	}
	return json.Marshal(django.Project{
		Manage: c.Django.Manage, Databases: c.Django.Databases, Migrates: runsMigrate(c.Hooks.Before, r.Path),
	})
}

var (
	migrate = regexp.MustCompile(`(^|[^\w-])migrate($|[^\w-])`)
	lookers = regexp.MustCompile(`--(check|plan|help|list)\b`)
)

// runsMigrate reports whether one of the commands runs Django's migrate, directly or in a script of
// the release.
func runsMigrate(commands [][]string, dir string) bool {
	says := func(text string) bool {
		for line := range strings.Lines(text) {
			if migrate.MatchString(line) && !lookers.MatchString(line) {
				return true
			}
		}
		return false
	}
	return slices.ContainsFunc(commands, func(argv []string) bool {
		if says(strings.Join(argv, " ")) {
			return true
		}
		return slices.ContainsFunc(argv, func(word string) bool {
			path := word
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, word)
			}
			st, err := os.Stat(path)
			if err != nil || !st.Mode().IsRegular() || st.Size() > scriptLimit {
				return false
			}
			text, err := os.ReadFile(path)
			return err == nil && says(string(text))
		})
	})
}

// inspectMigrations implements the supervisor's Inspect: it compares the migrations of a release
// with those applied to its databases, and refuses a release that does not fit them.
func inspectMigrations(ctx context.Context, i supervisor.Inspection, line func(string)) (string, error) {
	var p django.Project
	if err := json.Unmarshal(i.Plan.Inspect, &p); err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeoutCause(ctx, inspectTime, fmt.Errorf("no answer within %s", inspectTime))
	defer cancel()
	st, err := inspectRelease(limited, p, &i.Plan)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		var said *django.Error
		if errors.As(err, &said) {
			for _, l := range said.Lines {
				line(l)
			}
		}
		if i.Force {
			return fmt.Sprintf("not checked, and --force was given: %v", err), nil
		}
		return "", fmt.Errorf("the migrations cannot be checked: %w (--force skips the check)", err)
	}
	for _, l := range st.Plan {
		line(l)
	}
	detail, err := judgeUnknown(limited, p, i, st.Unknown, line)
	if err != nil {
		return "", err
	}
	if len(st.Missing) == 0 {
		return detail + "nothing to apply", nil
	}
	if err := judgeMissing(p, i, st.Missing); err != nil {
		return "", err
	}
	return detail + fmt.Sprintf("%d to apply, which a before hook does", len(st.Missing)), nil
}

func inspectRelease(ctx context.Context, p django.Project, plan *supervisor.Plan) (django.State, error) {
	if _, err := os.Stat(filepath.Join(plan.Hooks.Dir, p.Manage)); errors.Is(err, fs.ErrNotExist) {
		return django.State{}, fmt.Errorf(
			"no %s in %s: set manage in [django] to its path, or remove [django]", p.Manage, plan.Hooks.Dir,
		)
	}
	return p.Inspect(ctx, interpreter(plan))
}

// interpreter returns a function that runs the Python of a release with the environment of its
// hooks.
func interpreter(plan *supervisor.Plan) django.Run {
	h := &plan.Hooks
	env := merge(h.Env, []string{"PYTHONDONTWRITEBYTECODE=1"}) // write nothing into the release
	return func(ctx context.Context, args []string, line func(string)) error {
		python := "python"
		if _, err := worker.LookPath(python, env, h.Dir); err != nil {
			python = "python3"
		}
		return worker.Run(
			ctx,
			worker.Command{
				Args: append([]string{python}, args...), Env: env, Secrets: h.Secrets, Dir: h.Dir, User: h.User,
			},
			line,
		)
	}
}

// judgeUnknown refuses a release that does not know applied migrations which the live release
// knows. It ignores those that the live release does not know either, such as migrations of a
// removed Django app: the live release works with them.
func judgeUnknown(
	ctx context.Context, p django.Project, i supervisor.Inspection, unknown []string, line func(string),
) (string, error) {
	if len(unknown) == 0 {
		return "", nil
	}
	name := i.Plan.Release.Name
	if i.Live == nil {
		line(fmt.Sprintf("applied but unknown to %s: %s", name, named(unknown)))
		return "", nil
	}
	known, standsFor, err := p.Knows(ctx, interpreter(i.Live), unknown)
	if err == nil {
		foreign := func(other string) bool { return slices.Contains(unknown, other) }
		unknown = slices.DeleteFunc(slices.Clone(unknown), func(m string) bool {
			others := standsFor[m]
			return !known[m] || len(others) > 0 && !slices.ContainsFunc(others, foreign)
		})
	} else if ctx.Err() == nil {
		line(fmt.Sprintf("cannot ask %s whether it knows them: %v", i.Live.Release.Name, err))
	}
	switch {
	case len(unknown) == 0:
		return "", nil
	case i.Force:
		return fmt.Sprintf("--force overrides unknown migrations: %s; ", named(unknown)), nil
	}
	return "", fmt.Errorf(
		"%s does not know migrations that have been applied: %s. Its code may not work with the database: "+
			"undo them with the release that has them (python manage.py migrate APP NAME), or use --force", name,
		named(unknown),
	)
}

// judgeMissing refuses a release that would run without its migrations.
func judgeMissing(p django.Project, i supervisor.Inspection, missing []string) error {
	switch {
	case runsMigrate(i.LeftOut, i.Plan.Release.Path):
		return fmt.Errorf(
			"%s has migrations that are not applied: %s: the leader of the run applies them, and has not yet: "+
				"begin there, or leave out --follower", i.Plan.Release.Name, named(missing),
		)
	case i.Before && p.Migrates:
		return nil
	case p.Migrates:
		return fmt.Errorf(
			"%s has migrations that are not applied: %s: a rollback runs no before hooks, use superctl switch %s",
			i.Plan.Release.Name, named(missing), i.Plan.Release.Name,
		)
	default:
		return fmt.Errorf("%s has migrations that are not applied: %s: apply them first, or add a hook: "+
			`[hooks] before = ["python manage.py migrate --noinput"]`, i.Plan.Release.Name, named(missing))
	}
}

func named(migrations []string) string {
	if more := len(migrations) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(migrations[:maxNamed], ", "), more)
	}
	return strings.Join(migrations, ", ")
}
