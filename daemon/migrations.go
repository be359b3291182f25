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

// inspectTime is how long a release may take to say how its migrations are: it imports the whole
// project for that.
const inspectTime = time.Minute

// mostNamed is how many migrations a message names.
const mostNamed = 10

// scriptLimit is how much is read of a hook's script.
const scriptLimit = 64 << 10

// projectOf is what inspectMigrations needs to know of a release, as the supervisor keeps it; nil
// when it is not to look.
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

// runsMigrate tells whether one of the commands runs Django's migrate: it says so, or is a script
// of the release that does.
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

// inspectMigrations is the supervisor's Inspect: it compares the migrations that a release has with
// those that its databases have had, and objects to a release that would meet a database of another
// time.
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
		return "", fmt.Errorf("they cannot be checked: %w (--force goes on without)", err)
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
			"there is no %s in %s: say where it is with manage in [django], or take [django] out", p.Manage,
			plan.Hooks.Dir,
		)
	}
	return p.Inspect(ctx, interpreter(plan))
}

// interpreter runs the Python of a release as its hooks would.
func interpreter(plan *supervisor.Plan) django.Run {
	h := &plan.Hooks
	env := merge(h.Env, []string{"PYTHONDONTWRITEBYTECODE=1"}) // a release is never changed
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

// judgeUnknown objects to a release that does not know migrations which have been applied since it
// was made: those that the live release knows. What neither knows is of another time, such as of an
// app that the project does not have any more, and the live release gets on with it.
func judgeUnknown(
	ctx context.Context, p django.Project, i supervisor.Inspection, unknown []string, line func(string),
) (string, error) {
	if len(unknown) == 0 {
		return "", nil
	}
	name := i.Plan.Release.Name
	if i.Live == nil {
		line(fmt.Sprintf("applied, and unknown to %s: %s", name, named(unknown)))
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
		line(fmt.Sprintf("whether %s knows them cannot be found out: %v", i.Live.Release.Name, err))
	}
	switch {
	case len(unknown) == 0:
		return "", nil
	case i.Force:
		return fmt.Sprintf("--force, although it does not know %s; ", named(unknown)), nil
	}
	return "", fmt.Errorf("%s does not know migrations that have been applied: %s. Its code may not fit the database any more: "+
		"undo them with the release that has them (python manage.py migrate APP NAME), or go on with --force", name, named(unknown))
}

// judgeMissing objects to a release that would run without its migrations.
func judgeMissing(p django.Project, i supervisor.Inspection, missing []string) error {
	switch {
	case i.Before && p.Migrates:
		return nil
	case p.Migrates:
		return fmt.Errorf("%s has migrations that are not applied: %s; a rollback runs no before hooks, superctl switch %s does",
			i.Plan.Release.Name, named(missing), i.Plan.Release.Name)
	default:
		return fmt.Errorf("%s has migrations that are not applied: %s. Apply them first, or have a hook do it: "+
			`[hooks] before = ["python manage.py migrate --noinput"]`, i.Plan.Release.Name, named(missing))
	}
}

func named(migrations []string) string {
	if more := len(migrations) - mostNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(migrations[:mostNamed], ", "), more)
	}
	return strings.Join(migrations, ", ")
}
