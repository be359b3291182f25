package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/config"
	"superctl/daemon"
	"superctl/plain"
	"superctl/releases"
	"superctl/releases/install"
	"superctl/supervisor/worker"
)

// installOutcome is what `install --json` prints.
type installOutcome struct {
	Kind     string         `json:"kind"`
	Changed  bool           `json:"changed"`
	Result   api.Result     `json:"outcome"`
	Release  string         `json:"release"`
	Path     string         `json:"path,omitempty"`
	Name     string         `json:"name,omitempty"`
	Commit   string         `json:"commit,omitempty"`
	Bundle   string         `json:"bundle,omitempty"`
	Tree     string         `json:"tree,omitempty"`
	Steps    []install.Step `json:"steps"`
	Seconds  float64        `json:"seconds"`
	Error    string         `json:"error,omitempty"`
	Log      []string       `json:"log,omitempty"` // the last lines of the bundle's check
	Warnings []string       `json:"warnings,omitempty"`
}

func (c *command) installCommand() *cli.Command {
	return &cli.Command{
		Name: "install", Usage: "make a release of a bundle", UsageText: "superctl install BUNDLE [--older] [--json]",
		Description: `Makes the release VERSION of NAME-VERSION.tar.zst: verifies it, unpacks it into a hidden directory, makes its
virtualenv from its own wheels without a network, byte-compiles, runs its smoke check as the app's user, and puts it in its
place in one step, read-only. Nothing is switched. What is installed already is left alone; another bundle under the same
version is refused. [trust] in the config says whose signature must be beside it.

   superctl install shop-1.2.tar.zst
   superctl install https://ci.example.com/shop-1.2.tar.zst
   superctl install s3://releases/shop/shop-1.2.tar.zst    credentials as the AWS tools take them (AWS_PROFILE, ~/.aws, ...)`,
		Flags: []cli.Flag{olderFlag(), jsonFlag()},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 1, 1); err != nil {
				return err
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			show := c.progress(cc)
			out, err := c.install(ctx, conf, cc.Args().First(), cc.Bool("older"), show)
			show.end()
			if err != nil {
				return err
			}
			return c.conclude(cc, out, out.Result, func() { c.tellInstall(conf.App, cc.Args().First(), out) })
		},
	}
}

func olderFlag() cli.Flag {
	return &cli.BoolFlag{Name: "older", Usage: "install a signed bundle even if a newer one is installed"}
}

// install installs a bundle. The error is what kept it from being begun.
func (c *command) install(
	ctx context.Context, conf *config.Config, word string, older bool, show *progress,
) (*installOutcome, error) {
	began := c.now()
	opt, err := installOptions(conf)
	if err != nil {
		return nil, err
	}
	opt.Event, opt.Older = show.install, older
	r, err := install.Install(ctx, word, opt)
	out := &installOutcome{
		Kind: "install", Changed: r.Changed, Result: api.Done, Release: r.Release, Path: r.Path, Bundle: r.Bundle,
		Tree:  r.Tree,
		Steps: slices.Concat([]install.Step{}, r.Steps), Seconds: c.now().Sub(began).Seconds(), Warnings: r.Warnings,
	}
	if m := r.Manifest; m != nil {
		out.Name, out.Commit = m.Name, m.Commit
		out.Warnings = append(out.Warnings, unexpected(conf, m.Processes)...)
	}
	var source *install.SourceError
	var locked *releases.LockedError
	var failed *install.CommandError
	switch {
	case errors.As(err, &source):
		return nil, &usageError{err}
	case errors.As(err, &locked):
		return nil, err
	case errors.As(err, &failed):
		out.Log = failed.Output
	case err != nil && ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	if err != nil {
		out.Result, out.Error = api.Aborted, err.Error()
	}
	return out, nil
}

// unexpected warns of processes that the release is made for and the config does not have.
func unexpected(conf *config.Config, processes []string) []string {
	has := func(name string) bool {
		return slices.ContainsFunc(conf.Processes, func(p config.Process) bool { return p.Name == name })
	}
	missing := slices.DeleteFunc(slices.Clone(processes), has)
	if len(missing) == 0 {
		return nil
	}
	return []string{fmt.Sprintf(
		"the bundle is made for the processes %s, and %s has no %s", strings.Join(processes, ", "), conf.Path,
		strings.Join(missing, ", "),
	)}
}

// installOptions join the packages.
func installOptions(conf *config.Config) (install.Options, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return install.Options{}, err
	}
	keys, err := conf.TrustedKeys()
	if err != nil {
		return install.Options{}, err
	}
	app, err := workersUser(conf)
	if err != nil {
		return install.Options{}, err
	}
	sum := sha256.Sum256([]byte(conf.Releases))
	mark := "install-" + hex.EncodeToString(sum[:8])
	opt := install.Options{
		Store: store, Name: conf.Install.Name, Keys: keys, Python: conf.Install.Python, Search: os.Getenv("PATH"),
		Shared: conf.Shared, Owner: daemon.OwnerOf(conf),
		Run: func(ctx context.Context, cmd install.Command, line func(string)) error {
			run := worker.Command{Args: cmd.Args, Dir: cmd.Dir, Mark: mark, User: app.Become(), Env: []string{
				"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
			}}
			if cmd.InRelease {
				env := appEnvironment(conf, store, app, cmd.Dir)
				run.Env, run.Secrets = append(env.List(), "PYTHONDONTWRITEBYTECODE=1"), env.Secrets()
			}
			return worker.Run(ctx, run, line)
		},
		EndLeft: func() error { return worker.EndMarked(mark, func(string) bool { return false }) },
	}
	if app != nil {
		opt.User = app.Name
		opt.UserID = &install.UserID{UID: int(app.Credential.UID), GID: int(app.Credential.GID)}
	}
	return opt, nil
}

// appEnvironment is that of the app's processes, in a release that is being made or elsewhere.
func appEnvironment(conf *config.Config, store *releases.Store, app *config.User, dir string) daemon.Environ {
	with := *conf
	with.Virtualenv = true // a bundle's release has one, whether or not the app's processes use it
	conf = &with
	r := releases.Release{Path: dir}
	if filepath.Dir(dir) == store.Dir {
		if made, err := store.Get(dir); err == nil {
			r = made
		}
	}
	env, err := daemon.EnvironmentOf(conf, r, app)
	if err != nil { // the unit's credentials are there only while it runs, and a first install comes before that
		return daemon.BareEnvironment(conf, r, app)
	}
	return env
}

// install shows an event of an install. How far a step is, is for a terminal alone: elsewhere each
// of these would stay.
func (p *progress) install(ev install.Event) {
	if ev.Type == "progress" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.note = plain.Line(ev.Detail)
		return
	}
	p.event(api.Event{Type: ev.Type, Step: ev.Step, Detail: ev.Detail, Seconds: ev.Seconds})
}

func (c *command) tellInstall(app, word string, out *installOutcome) {
	p := paletteFor(c.stdout)
	for _, w := range out.Warnings {
		fmt.Fprintf(c.stdout, "%s %s\n", p.yellow("warning:"), w)
	}
	name := out.Release
	if name != "" && out.Commit != "" {
		name += " (" + short(out.Commit) + ")"
	}
	switch {
	case out.Result != api.Done:
		fmt.Fprintf(
			c.stdout, "%s: %s %s: %s\nnothing was installed\n", app, cmp.Or(name, filepath.Base(word)),
			p.red("was refused"), out.Error,
		)
		c.tellLog("check", out.Log)
	case !out.Changed:
		fmt.Fprintf(c.stdout, "%s: %s is installed already, from this very bundle; nothing to do\n", app, name)
	default:
		fmt.Fprintf(
			c.stdout, "%s: %s %s in %s\n  path  %s\n  next  superctl switch %s\n", app, p.bold(name),
			p.green("is installed"), seconds(out.Seconds), out.Path, out.Release,
		)
	}
}

// tellLog shows the last lines of what has failed.
func (c *command) tellLog(whose string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p := paletteFor(c.stdout)
	fmt.Fprintf(c.stdout, "the last lines of the %s:\n", whose)
	for _, l := range withoutRepeats(lines) {
		fmt.Fprintf(c.stdout, "  %s %s\n", p.dim("|"), l)
	}
}
