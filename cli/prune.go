package cli

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
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/releases"
)

// pruneView is what a prune has done; its JSON is that of `prune --json`.
type pruneView struct {
	Changed   bool          `json:"changed"`
	DryRun    bool          `json:"dry_run,omitempty"`
	Removed   []removedView `json:"removed"`
	Kept      []keptView    `json:"kept"`
	Leftovers []string      `json:"leftovers,omitempty"` // of interrupted installs and prunes
	Freed     int64         `json:"freed_bytes"`
	Unseen    []string      `json:"unseen,omitempty"` // processes that could not be looked at
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

// pruneOptions say what a prune is to do; the zero value is what the config says.
type pruneOptions struct {
	keep   int // 0 = the config's
	dryRun bool
	say    func(text string) // is told what is being removed; nil for nobody
}

func (c *command) pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "remove old releases", UsageText: "superctl prune [--keep N] [--dry-run] [--json]",
		Description: `Removes releases but the newest, as many as "keep" in the config says. What is live or was live before, what has
workers, what is pinned, what the current link leads to and what any process of the machine uses always stays; so does
what is still being copied, and what does not look like a release. What an interrupted install or prune has left goes.

   superctl prune --dry-run      what would go, what stays, and why
   superctl prune --keep 2
   superctl pin 2026-11-23       keeps a release for good`,
		Flags: []cli.Flag{
			jsonFlag(), &cli.IntFlag{Name: "keep", Usage: "so many of the newest stay, instead of the config's `N`"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only tell what would be removed"},
		},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			if cc.IsSet("keep") && cc.Int("keep") < 1 {
				return &usageError{fmt.Errorf("prune: --keep %d: at least one release must stay", cc.Int("keep"))}
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			view, err := prune(ctx, conf, pruneOptions{keep: cc.Int("keep"), dryRun: cc.Bool("dry-run")}, c.now())
			if view == nil {
				return err
			}
			if cc.Bool("json") {
				return errors.Join(err, c.json(view))
			}
			c.tellPrune(conf.App, view)
			return err
		},
	}
}

// prune removes the releases that are old and that nobody needs. With an error the view says what
// was done all the same; it is nil when that is nothing.
func prune(ctx context.Context, conf *config.Config, opt pruneOptions, now time.Time) (*pruneView, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return nil, err
	}
	if opt.keep == 0 {
		opt.keep = conf.Keep
	}
	check := releases.CheckOptions{NoVirtualenv: !conf.Virtualenv}
	done, err := store.Prune(ctx, releases.PruneOptions{
		Keep: opt.keep, DryRun: opt.dryRun, Say: opt.say, Now: now, Virtualenv: conf.Virtualenv,
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

func viewPruned(done *releases.Pruned) *pruneView {
	view := &pruneView{
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

// protected is the releases that the daemon needs, and why: what it says, and what its state file
// says for when it ends.
func protected(ctx context.Context, conf *config.Config, store *releases.Store) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	var unreachable *control.UnreachableError
	if err != nil && !errors.As(err, &unreachable) {
		return nil, err
	}
	all := make(map[string]string)
	last, unread := daemon.ReadLast(conf)
	for i := range last.Running {
		all[last.Running[i].Name] = "it has workers"
	}
	all[last.Previous.Name], all[last.Release.Name] = "previous: a rollback goes to it", "live when the daemon wrote its state last"
	if unreachable == nil {
		addStatus(all, &st, store)
		return all, nil
	}
	_, missing := store.CurrentTarget() // it stays, as in any prune
	switch {
	case unread != nil:
		return nil, fmt.Errorf("which releases are needed is not known: %w, and %w", unread, unreachable)
	case last.Release.Path == "" && missing != nil:
		return nil, fmt.Errorf(
			"which release is live is not known, so nothing was removed: no state in %s says so, and %w", conf.State,
			unreachable,
		)
	}
	return all, nil
}

// addStatus adds what a running daemon needs.
func addStatus(all map[string]string, st *api.Status, store *releases.Store) {
	for i := range st.Generations {
		all[st.Generations[i].Release] = st.Generations[i].State
	}
	all[st.Previous], all[st.Release] = "previous: a rollback goes to it", "live"
	if st.Changing == nil {
		return
	}
	name := st.Changing.Release
	if r, err := store.Resolve(name, releases.Refs{Live: st.Release, Previous: st.Previous}); err == nil {
		name = r.Name // it was a word
	}
	if all[name] == "" {
		all[name] = fmt.Sprintf("a %s to it is in progress", st.Changing.Kind)
	}
}

// tellPrune says what was removed, and what stays and why.
func (c *command) tellPrune(app string, view *pruneView) {
	p := paletteFor(c.stdout)
	what := fmt.Sprintf("%s and %s", count(len(view.Removed), "release", "releases"), sizeOf(view.Freed))
	switch n := len(view.Removed); {
	case view.DryRun && n > 0:
		fmt.Fprintf(c.stdout, "%s: a prune would remove %s\n", app, what)
	case n > 0:
		fmt.Fprintf(c.stdout, "%s: %s %s\n", app, p.green("removed"), what)
	default:
		fmt.Fprintf(c.stdout, "%s: there is no release to remove\n", app)
	}
	c.writeFates(view, p)
	if len(view.Leftovers) > 0 {
		fmt.Fprintf(
			c.stdout, "  what interrupted installs and prunes have left: %s\n", strings.Join(view.Leftovers, ", "),
		)
	}
	if n := len(view.Unseen); n > 0 {
		how := "; run it as root to be sure that none uses what goes"
		if os.Geteuid() == 0 {
			how = ", not even by root"
		}
		fmt.Fprintf(
			c.stdout, "%s %s could not be looked at%s: %s\n", p.yellow("warning:"), count(n, "process", "processes"),
			how, first(view.Unseen, 3),
		)
	}
}

// writeFates shows what becomes of each release, the newest first.
func (c *command) writeFates(view *pruneView, p palette) {
	type fate struct {
		installed time.Time
		cells     []string
	}
	fates := make([]fate, 0, len(view.Kept)+len(view.Removed))
	for _, r := range view.Kept {
		fates = append(fates, fate{
			r.Installed, []string{r.Name, dash(short(r.Commit)), age(c.now(), r.Installed), "", "stays: " + r.Why},
		})
	}
	goes := "removed"
	if view.DryRun {
		goes = "would go"
	}
	for _, r := range view.Removed {
		fates = append(fates, fate{
			r.Installed,
			[]string{r.Name, dash(short(r.Commit)), age(c.now(), r.Installed), sizeOf(r.Freed), p.yellow(goes)},
		})
	}
	slices.SortStableFunc(fates, func(a, b fate) int { return b.installed.Compare(a.installed) })
	var t table
	for _, f := range fates {
		t.row(f.cells...)
	}
	t.write(c.stdout, "  ")
}

// first is the first few of a list, and how many more there are.
func first(list []string, most int) string {
	text := strings.Join(list[:min(most, len(list))], ", ")
	if len(list) > most {
		text += fmt.Sprintf(" and %d more", len(list)-most)
	}
	return text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
