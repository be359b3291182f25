//go:build linux

package releasecommand

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/plain"
	"superctl/releases"
)

// PruneView is the outcome of a prune; its JSON is the output of `prune --json`.
type PruneView struct {
	Changed   bool          `json:"changed"`
	DryRun    bool          `json:"dry_run,omitempty"`
	Removed   []removedView `json:"removed"`
	Kept      []keptView    `json:"kept"`
	Leftovers []string      `json:"leftovers,omitempty"` // of interrupted installs and prunes
	Freed     int64         `json:"freed_bytes"`
	Unseen    []string      `json:"unseen,omitempty"` // processes that could not be inspected
	Error     string        `json:"error,omitempty"`
}

type removedView struct {
	Name      string    `json:"name"`
	Commit    string    `json:"commit,omitempty"`
	Installed time.Time `json:"installed"`
	Freed     int64     `json:"freed_bytes"`
}

type keptView struct {
	Name      string    `json:"name"`
	Commit    string    `json:"commit,omitempty"`
	Installed time.Time `json:"installed"`
	Why       string    `json:"why"`
}

// PruneOptions are the options of a prune; the zero value follows the config.
type PruneOptions struct {
	keep   int // 0 = the number in the config
	dryRun bool
}

// Prune is the command superctl prune.
func Prune(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "prune", Usage: "remove old releases", UsageText: "superctl prune [--keep N] [--dry-run] [--json]",
		Description: `Removes all releases but the newest N ("keep" in the config). A prune never removes the live and the
previous release, a release with workers, a pinned release, the target of the current link, a
release that any process of the machine uses, a release that is still being copied, or a directory
that does not look like a release. It also removes the leftovers of interrupted installs and prunes.

   superctl prune --dry-run      show what would be removed and what is kept, and why
   superctl prune --keep 2
   superctl pin 2026-11-23       protect a release from prune`,
		Flags: []cli.Flag{
			commandline.JSONFlag(),
			&cli.IntFlag{Name: "keep", Usage: "keep the newest `N` releases (default: keep in the config)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only show what would be removed"},
		},
		Action: c.prune,
	}
}

// prune runs superctl prune.
func (c *command) prune(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	if cc.IsSet("keep") && cc.Int("keep") < 1 {
		return commandline.Usagef("prune: --keep %d: use 1 or more", cc.Int("keep"))
	}
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	view, err := PruneOld(ctx, conf, PruneOptions{keep: cc.Int("keep"), dryRun: cc.Bool("dry-run")}, c.Now())
	if view == nil {
		return err
	}
	if cc.Bool("json") {
		return errors.Join(err, c.JSON(view))
	}
	c.print().prune(conf.App, view)
	return err
}

// PruneOld removes old releases that are not needed. With an error, the view shows what was done
// before it; the view is nil if nothing was done.
func PruneOld(ctx context.Context, conf *config.Config, opt PruneOptions, now time.Time) (*PruneView, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return nil, err
	}
	if opt.keep == 0 {
		opt.keep = conf.Keep
	}
	check := releases.CheckOptions{NoVirtualenv: !conf.Virtualenv}
	done, err := store.Prune(ctx, releases.PruneOptions{
		Keep: opt.keep, DryRun: opt.dryRun, Now: now, Virtualenv: conf.Virtualenv,
		Protected: func(ctx context.Context) (map[string]string, error) { return protected(ctx, conf, store) },
		Check:     func(r releases.Release) error { return r.Check(ctx, check) },
	})
	if err != nil && done.Kept == nil && done.Removed == nil {
		return nil, err
	}
	view := viewPruned(&done)
	if view.DryRun = opt.dryRun; view.DryRun {
		view.Changed = false
	}
	if err != nil {
		view.Error = err.Error()
	}
	return view, err
}

func viewPruned(done *releases.Pruned) *PruneView {
	view := &PruneView{
		Changed: len(done.Removed)+len(done.Leftovers) > 0, Leftovers: done.Leftovers, Freed: done.Freed,
		Unseen:  done.Unseen,
		Removed: []removedView{}, Kept: []keptView{},
	}
	for i := range done.Removed {
		r := &done.Removed[i]
		view.Removed = append(view.Removed, removedView{r.Name, r.Commit, r.Installed, r.Freed})
	}
	for i := range done.Kept {
		r := &done.Kept[i]
		view.Kept = append(view.Kept, keptView{r.Name, r.Commit, r.Installed, r.Why})
	}
	return view
}

// protected returns the releases that the daemon needs, with the reasons: those of its status and,
// for the case that it has ended, those of its state file.
func protected(ctx context.Context, conf *config.Config, store *releases.Store) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, app.AskTime)
	defer cancel()
	st, err := control.NewClient(conf.Control, conf.App).Status(ctx)
	var unreachable *control.UnreachableError
	if err != nil && !errors.As(err, &unreachable) {
		return nil, err
	}
	all := make(map[string]string)
	last, unread := daemon.ReadLast(conf)
	for i := range last.Running {
		all[last.Running[i].Name] = "has workers"
	}
	all[last.Previous.Name], all[last.Release.Name] = rollbackTarget, "live in the state file"
	if unreachable == nil {
		addStatus(all, &st, store)
		return all, nil
	}
	_, missing := store.CurrentTarget() // Prune itself keeps the target
	switch {
	case unread != nil:
		return nil, fmt.Errorf(
			"nothing was removed, because the needed releases are unknown: %w, and %w", unread, unreachable,
		)
	case last.Release.Path == "" && missing != nil:
		return nil, fmt.Errorf(
			"nothing was removed, because the live release is unknown: it is not in the state in %s, and %w",
			conf.State,
			unreachable,
		)
	}
	return all, nil
}

// rollbackTarget is why a prune keeps the previous release.
const rollbackTarget = "previous, the target of a rollback"

// scheduled is, with its name, the scheduled command for which a release is kept.
const scheduled = "runs the scheduled command "

// addStatus adds the releases that a running daemon needs.
func addStatus(all map[string]string, st *api.Status, store *releases.Store) {
	for i := range st.Generations {
		all[st.Generations[i].Release] = st.Generations[i].State
	}
	for i := range st.Cron {
		for _, r := range st.Cron[i].Running {
			all[r.Release] = scheduled + r.Name
		}
	}
	all[st.Previous], all[st.Release] = rollbackTarget, "live"
	if st.Changing == nil {
		return
	}
	name := st.Changing.Release
	if r, err := store.Resolve(name, releases.Refs{Live: st.Release, Previous: st.Previous}); err == nil {
		name = r.Name // the change names it by a word such as "latest"
	}
	if all[name] == "" {
		all[name] = fmt.Sprintf("a %s to it is in progress", st.Changing.Kind)
	}
}

// prune prints what was removed and what is kept, with the reasons.
func (pr printer) prune(app string, view *PruneView) {
	p := terminal.PaletteFor(pr.Stdout)
	what := fmt.Sprintf("%s and %s", plain.Count(len(view.Removed), "release", "releases"), terminal.Size(view.Freed))
	switch n := len(view.Removed); {
	case view.DryRun && n > 0:
		terminal.Prose(pr.Stdout, "%s: a prune would remove %s", app, what)
	case n > 0:
		terminal.Prose(pr.Stdout, "%s: %s %s", app, p.Green("removed"), what)
	default:
		terminal.Prose(pr.Stdout, "%s: no release to remove", app)
	}
	pr.pruned(view, p)
	if len(view.Leftovers) > 0 {
		var names []string
		for _, name := range view.Leftovers {
			names = append(names, plain.Name(name))
		}
		terminal.Prose(pr.Stdout, "  leftovers of interrupted installs and prunes: %s", strings.Join(names, ", "))
	}
	if n := len(view.Unseen); n > 0 {
		how := "; run it as root to check whether they use a removed release"
		if os.Geteuid() == 0 {
			how = ", even as root"
		}
		terminal.Prose(
			pr.Stdout, "%s %s could not be inspected%s: %s", p.Yellow("warning:"), plain.Count(n, "process", "processes"),
			how, terminal.First(view.Unseen, 3),
		)
	}
}

// pruned prints each release and whether it is kept or removed, the newest first.
func (pr printer) pruned(view *PruneView, p terminal.Palette) {
	type entry struct {
		installed time.Time
		cells     []string
	}
	entries := make([]entry, 0, len(view.Kept)+len(view.Removed))
	add := func(name, commit string, installed time.Time, size, fate string) {
		commit = terminal.Dash(terminal.ShortCommit(commit))
		entries = append(entries, entry{
			installed, []string{plain.Name(name), commit, terminal.Age(pr.Now(), installed), size, fate},
		})
	}
	for _, r := range view.Kept {
		add(r.Name, r.Commit, r.Installed, "", "kept: "+plain.Line(r.Why))
	}
	goes := "removed"
	if view.DryRun {
		goes = "would be removed"
	}
	for _, r := range view.Removed {
		add(r.Name, r.Commit, r.Installed, terminal.Size(r.Freed), p.Yellow(goes))
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return b.installed.Compare(a.installed) })
	var t terminal.Table
	for _, f := range entries {
		t.Row(f.cells...)
	}
	t.Write(pr.Stdout, "  ")
}
