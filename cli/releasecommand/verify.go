//go:build linux

package releasecommand

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon/control"
	"superctl/releases"
)

// verifyView is one release in `verify --json`.
type verifyView struct {
	Release string `json:"release"`
	Path    string `json:"path"`
	// "unchanged", "changed", "unknown" (the release has no manifest) or "unreadable"
	State string `json:"state"`
	releases.Difference
	Error string `json:"error,omitempty"`
}

// Verify is the command superctl verify.
func Verify(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "verify", Usage: "verify installed releases against their manifests",
		UsageText: "superctl verify [RELEASE...] [--json]",
		Description: `Compares each file of the releases (default: all releases installed from a bundle) with the manifest
of the installation: content, mode and link targets. Paths in [shared] are skipped. Exit code 1:
something has changed.

   superctl verify
   superctl verify live`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: func(cc *cli.Context) error {
			conf, err := app.Load(cc)
			if err != nil {
				return err
			}
			ctx, stop := commandline.Interruptible()
			defer stop()
			words, err := app.ReleaseNames(conf, cc.Args().Slice())
			if err != nil {
				return err
			}
			views, err := verify(ctx, conf, words)
			if err != nil {
				return err
			}
			result := api.Done
			if slices.ContainsFunc(views, func(v verifyView) bool {
				return v.State != "unchanged" && (v.State != "unknown" || cc.NArg() > 0)
			}) {
				result = api.Aborted
			}
			return c.Conclude(cc, views, result, "no difference was found", func() { c.print().verify(conf.App, views) })
		},
	}
}

// verify compares the named releases, or all, with their manifests.
func verify(ctx context.Context, conf *config.Config, words []string) ([]verifyView, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return nil, err
	}
	list, err := store.List()
	if err != nil {
		return nil, err
	}
	if len(words) > 0 {
		if list, err = resolveAll(ctx, conf, store, words); err != nil {
			return nil, err
		}
	}
	shared := slices.Collect(maps.Keys(conf.Shared))
	views := []verifyView{}
	for i := range list {
		v := verifyView{Release: list[i].Name, Path: list[i].Path, State: "unchanged"}
		v.Difference, err = list[i].Verify(ctx, shared)
		switch {
		case ctx.Err() != nil:
			return nil, errors.New("interrupted")
		case errors.Is(err, releases.ErrNoTree):
			v.State, v.Error = "unknown", err.Error()
		case err != nil:
			v.State, v.Error = "unreadable", err.Error()
		case !v.Empty():
			v.State = "changed"
		}
		views = append(views, v)
	}
	return views, nil
}

// resolveAll finds the named releases. The word "previous" needs a daemon that answers.
func resolveAll(
	ctx context.Context, conf *config.Config, store *releases.Store, words []string,
) ([]releases.Release, error) {
	ask, cancel := context.WithTimeout(ctx, app.AskTime)
	defer cancel()
	var refs releases.Refs
	if st, err := control.NewClient(conf.Control, conf.App).Status(ask); err == nil {
		refs = releases.Refs{Live: st.Release, Previous: st.Previous}
	} else if r, err := store.CurrentTarget(); err == nil {
		refs.Live = r.Name
	}
	var list []releases.Release
	for _, word := range words {
		r, err := store.Resolve(word, refs)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// maxPaths limits how many changed, added and removed paths of a release are shown each; --json
// has all.
const maxPaths = 20

func (pr printer) verify(app string, views []verifyView) {
	p := terminal.PaletteFor(pr.Stdout)
	if len(views) == 0 {
		terminal.Prose(pr.Stdout, "%s: no release to verify", app)
	}
	for i := range views {
		v := &views[i]
		switch v.State {
		case "unchanged":
			terminal.Prose(pr.Stdout, "%s: %s %s", app, v.Release, p.Green("is unchanged"))
		case "changed":
			terminal.Prose(pr.Stdout, "%s: %s %s", app, p.Bold(v.Release), p.Red("has changed since its installation"))
		default:
			terminal.Prose(pr.Stdout, "%s: %s %s: %s", app, v.Release, p.Yellow("cannot be verified"), v.Error)
		}
		for _, kind := range []struct {
			what  string
			paths []string
		}{{"changed", v.Changed}, {"added", v.Added}, {"removed", v.Removed}} {
			for _, path := range kind.paths[:min(maxPaths, len(kind.paths))] {
				terminal.Prose(pr.Stdout, "  %-8s %s", kind.what, printable(path))
			}
			if more := len(kind.paths) - maxPaths; more > 0 {
				terminal.Prose(pr.Stdout, "  %-8s and %d more", kind.what, more)
			}
		}
	}
}

// printable quotes a path that contains control characters.
func printable(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}
