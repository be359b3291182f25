package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/cli/config"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/supervisor/control"
)

// releaseView is one release in `releases --json`.
type releaseView struct {
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Commit    string    `json:"commit,omitempty"`
	Branch    string    `json:"branch,omitempty"`
	Version   string    `json:"version,omitempty"`
	Installed time.Time `json:"installed"`
	State     string    `json:"state"` // live, previous, standby, draining, staged, broken, or ""
	Broken    string    `json:"broken,omitempty"`
}

func (c *command) releasesCommand() *cli.Command {
	return &cli.Command{
		Name: "releases", Usage: "the releases that are there, the newest first", UsageText: "superctl releases [--json]",
		Description: `Lists the directories of releases, with the commit that each records (release.toml, REVISION or git), its
age, and what it is now. A release that cannot be switched to says why.

   superctl releases`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			views, err := viewReleases(conf)
			if err != nil {
				return err
			}
			if cc.Bool("json") {
				return c.json(views)
			}
			c.writeReleases(conf, views)
			return nil
		},
	}
}

func viewReleases(conf *config.Config) ([]releaseView, error) {
	store, err := releases.Open(conf.Releases, conf.Current)
	if err != nil {
		return nil, err
	}
	list, err := store.List()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	var unreachable *control.UnreachableError
	if err != nil && !errors.As(err, &unreachable) {
		return nil, err
	}
	views := make([]releaseView, 0, len(list))
	for _, r := range list {
		v := releaseView{Name: r.Name, Path: r.Path, Commit: r.Commit, Branch: r.Branch, Version: r.Version, Installed: r.Installed, State: stateOf(&st, r.Name)}
		broken := r.Broken
		if broken == nil && v.State == "" {
			broken = r.Check(ctx, releases.CheckOptions{NoVirtualenv: !conf.Virtualenv})
		}
		if broken != nil {
			v.Broken = broken.Error()
			if v.State == "" {
				v.State = "broken"
			}
		}
		views = append(views, v)
	}
	return views, nil
}

// stateOf is what a release is now.
func stateOf(st *supervisor.Status, name string) string {
	if st.Release == name {
		return "live"
	}
	for _, g := range st.Generations {
		if g.Release == name {
			return g.State
		}
	}
	if st.Previous == name {
		return "previous"
	}
	return ""
}

func (c *command) writeReleases(conf *config.Config, views []releaseView) {
	if len(views) == 0 {
		fmt.Fprintf(c.stdout, "there is no release in %s yet: put one into a directory of its own there\n", conf.Releases)
		return
	}
	p := paletteFor(c.stdout)
	var t table
	t.row(p.dim("RELEASE"), p.dim("COMMIT"), p.dim("INSTALLED"), p.dim("STATE"))
	for _, v := range views {
		state := v.State
		switch {
		case v.Broken != "":
			state = p.red(state) + ": " + v.Broken
		case state == "live":
			state = p.green(state)
		}
		commit := short(v.Commit)
		if commit == "" {
			commit = "-"
		}
		t.row(v.Name, commit, age(c.now(), v.Installed), state)
	}
	t.write(c.stdout, "")
}
