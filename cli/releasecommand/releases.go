//go:build linux

package releasecommand

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon/control"
	"superctl/plain"
	"superctl/releases"
)

// ReleaseView is one release in `releases --json`.
type ReleaseView struct {
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Project   string    `json:"project,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Dirty     bool      `json:"dirty,omitempty"`
	Branch    string    `json:"branch,omitempty"`
	Version   string    `json:"version,omitempty"`
	Committed time.Time `json:"committed,omitzero"`
	Built     time.Time `json:"built,omitzero"`
	Builder   string    `json:"builder,omitempty"`
	Installed time.Time `json:"installed"`
	Bundle    string    `json:"bundle,omitempty"`
	Tree      string    `json:"tree,omitempty"`          // hash of the list of its files
	Bytes     int64     `json:"bytes"`                   // on disk
	Partial   bool      `json:"bytes_partial,omitempty"` // Bytes is a lower bound
	State     string    `json:"state"`                   // live, previous, standby, draining, staged, broken, or ""
	Pinned    bool      `json:"pinned,omitempty"`
	Note      string    `json:"note,omitempty"` // of the pin
	Broken    string    `json:"broken,omitempty"`
	NotLatest string    `json:"not_latest,omitempty"` // why latest skips it
	SameAs    string    `json:"same_as,omitempty"`    // the release above whose directory it is, too
	Cron      string    `json:"cron,omitempty"`       // the scheduled command that runs from it
}

// sizeTime limits how long the sizes of releases are counted.
const sizeTime = 2 * time.Second

// Releases is the command superctl releases.
func Releases(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "releases", Usage: "list the releases, the newest first",
		UsageText: "superctl releases [--wide] [--json]",
		Description: `Lists the releases with their commit (from release.toml, REVISION or git; + marks uncommitted
changes), the age of the build and of the installation, the size on disk, and the state. The state
of a broken release includes the reason.

   superctl releases`,
		Flags: []cli.Flag{commandline.JSONFlag(), commandline.WideFlag()},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			conf, err := app.Load(cc)
			if err != nil {
				return err
			}
			views, err := ViewReleases(conf)
			if err != nil {
				return err
			}
			if cc.Bool("json") {
				return c.JSON(views)
			}
			return c.print().releases(cc, conf, views)
		},
	}
}

// ViewReleases returns the releases of an app with their states, the newest first.
func ViewReleases(conf *config.Config) ([]ReleaseView, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return nil, err
	}
	list, err := store.List()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	st, err := control.NewClient(conf.Control, conf.App).Status(ctx)
	var unreachable *control.UnreachableError
	if err != nil && !errors.As(err, &unreachable) {
		return nil, err
	}
	pins, err := store.Pins()
	if err != nil {
		return nil, err
	}
	counting, cancel := context.WithTimeout(context.Background(), sizeTime)
	defer cancel()
	views := make([]ReleaseView, 0, len(list))
	first := make(map[string]string) // path -> the first release of this list that leads there
	for i := range list {
		v := viewRelease(&list[i], stateOf(&st, list[i].Name))
		if v.SameAs = first[v.Path]; v.SameAs == "" {
			first[v.Path] = v.Name
		}
		v.Cron = scheduledFrom(&st, v.Name)
		pin, pinned := pins[v.Name]
		v.Pinned, v.Note = pinned, pin.Note
		v.check(counting, &list[i], releases.CheckOptions{NoVirtualenv: !conf.Virtualenv})
		v.measure(counting)
		views = append(views, v)
	}
	return views, nil
}

// measure counts the size of a release, unless that is known already.
func (v *ReleaseView) measure(ctx context.Context) {
	if v.Bytes == 0 {
		size := releases.DiskUse(ctx, v.Path)
		v.Bytes, v.Partial = size.Bytes, size.Partial
	}
}

// check records why a release is broken, unless that is known already.
func (v *ReleaseView) check(ctx context.Context, r *releases.Release, opt releases.CheckOptions) {
	if v.Broken != "" {
		return
	}
	var broken *releases.BrokenError
	if err := r.Check(ctx, opt); errors.As(err, &broken) {
		v.Broken, v.State = broken.Err.Error(), cmp.Or(v.State, "broken")
	}
}

func viewRelease(r *releases.Release, state string) ReleaseView {
	v := ReleaseView{
		Name: r.Name, Path: r.Path, Project: r.Project, Commit: r.Commit, Dirty: r.Dirty, Branch: r.Branch,
		Version:   r.Version,
		Committed: r.Committed, Built: r.Built, Builder: r.Builder, Installed: r.Installed, Bundle: r.Bundle, Tree: r.Tree,
		State: state,
	}
	if r.Tree != "" {
		v.Bytes = r.Size // an installed bundle is read-only
	}
	if r.Unfinished != nil {
		v.NotLatest = r.Unfinished.Error()
	}
	if r.Broken != nil {
		v.Broken = r.Broken.Error()
		v.State = cmp.Or(state, "broken")
	}
	return v
}

// stateOf returns the current state of a release, or "".
func stateOf(st *api.Status, name string) string {
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

// scheduledFrom returns the name of a scheduled command that runs from a release, or "".
func scheduledFrom(st *api.Status, release string) string {
	for i := range st.Cron {
		for _, run := range st.Cron[i].Running {
			if run.Release == release {
				return run.Name
			}
		}
	}
	return ""
}

func (pr printer) releases(cc *cli.Context, conf *config.Config, views []ReleaseView) error {
	if len(views) == 0 {
		terminal.Prose(
			pr.Stdout, "no release in %s yet: install a bundle, or copy a release into a directory there",
			conf.Releases,
		)
		return nil
	}
	p := terminal.PaletteFor(pr.Stdout)
	var t terminal.Table
	t.Head(p, "RELEASE", "COMMIT", "BUILT", "INSTALLED", "SIZE", "STATE")
	for i := range views {
		v := &views[i]
		commit := terminal.Dash(terminal.ShortCommit(v.Commit))
		if v.Dirty {
			commit += "+"
		}
		size := terminal.Size(v.Bytes)
		if v.Partial {
			size = "> " + size
		}
		t.Row(
			plain.Name(v.Name), commit, terminal.Age(pr.Now(), v.Built), terminal.Age(pr.Now(), v.Installed), size, v.stateText(p),
		)
	}
	t.DropEmpty()
	out := pr.NewText(cc)
	t.Write(out, "")
	_, err := pr.Stdout.Write(out.Bytes())
	return err
}

// stateText returns the state of a release with its pin and why it is broken.
func (v *ReleaseView) stateText(p terminal.Palette) string {
	text := v.State
	switch {
	case v.Broken != "":
		text = p.Red(text)
	case text == "live":
		text = p.Green(text)
	}
	for _, more := range []struct{ says, name string }{{scheduled, v.Cron}, {"the same directory as ", v.SameAs}} {
		if more.name != "" {
			text = strings.TrimPrefix(text+", "+more.says+plain.Name(more.name), ", ")
		}
	}
	if v.Pinned {
		text = strings.TrimPrefix(text+", pinned", ", ")
		if v.Note != "" {
			text += " (" + plain.Line(v.Note) + ")"
		}
	}
	switch {
	case v.Broken != "":
		text += ": " + plain.Line(v.Broken)
	case v.NotLatest != "" && v.State == "":
		text = strings.TrimPrefix(text+", not latest: "+plain.Line(v.NotLatest), ", ")
	}
	return text
}
