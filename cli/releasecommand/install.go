//go:build linux

package releasecommand

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	"superctl/plain"
	"superctl/releases"
	"superctl/releases/install"
	"superctl/supervisor/worker"
)

// InstallOutcome is the output of `install --json`.
type InstallOutcome struct {
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
	Failed   string         `json:"failed_step,omitempty"` // the step that failed, such as fetch
	Log      []string       `json:"log,omitempty"`         // the last lines of the bundle's check
	Warnings []string       `json:"warnings,omitempty"`
	// New says that a dry run has found no release of this bundle.
	New      bool              `json:"-"`
	Packages map[string]string `json:"-"` // versions of the bundle's packages, by normalized name
}

// BundleRequest is the bundle that a command installs.
type BundleRequest struct {
	Word   string // a file or a URL
	Older  bool   // accept a bundle older than an installed one
	keep   bool   // keep it for the difference to the next one
	DryRun bool   // check it and install nothing
}

// Install is the command superctl install.
func Install(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "install", Usage: "install a bundle as a release",
		UsageText: "superctl install BUNDLE [--older] [--keep] [--json] | --kept",
		Description: `Installs the bundle NAME-VERSION.tar.zst as the release VERSION: verifies it, unpacks it into a
hidden directory, creates a virtualenv from the wheels in the bundle without network access,
compiles the Python files, runs the smoke check as the app's user, makes the release read-only, and
renames it into place. The live release does not change. If the same bundle is already installed,
there is nothing to do; another bundle with the same version is refused. [trust] in the config names
the keys that must have signed the bundle.

With --keep, superctl keeps a copy of the bundle, so that the next one can be sent as a difference:
superctl @ENV deploy does that. --kept prints the chunks of the copy, and a file BUNDLE.delta is
such a difference.

   superctl install shop-1.2.tar.zst
   superctl install https://ci.example.com/shop-1.2.tar.zst
   superctl install s3://releases/shop/shop-1.2.tar.zst    with AWS credentials (AWS_PROFILE, ~/.aws, ...)`,
		Flags: []cli.Flag{
			OlderFlag(), &cli.BoolFlag{Name: "keep", Usage: "keep a copy of the bundle next to the releases, instead of the previous copy"},
			&cli.BoolFlag{Name: "kept", Usage: "print the chunks of the kept copy as JSON, and install nothing"},
			commandline.JSONFlag(),
		},
		Action: c.install,
	}
}

// install runs superctl install.
func (c *command) install(cc *cli.Context) error {
	if cc.Bool("kept") {
		return c.kept(cc)
	}
	if err := commandline.Arguments(cc, 1, 1); err != nil {
		return err
	}
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	show := c.Progress(cc)
	wanted := BundleRequest{Word: cc.Args().First(), Older: cc.Bool("older"), keep: cc.Bool("keep")}
	out, err := InstallBundle(ctx, conf, wanted, show, c.Now)
	if err != nil {
		show.End(err.Error())
		return err
	}
	show.End(out.Error)
	return c.Conclude(cc, out, out.Result, "the release is installed", func() { c.print().install(conf.App, cc.Args().First(), out) })
}

// kept prints the chunks of the bundle that is kept.
func (c *command) kept(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	base, err := install.Kept(conf.Releases)
	if err != nil {
		return err
	}
	line, err := json.Marshal(base)
	if err != nil {
		return err
	}
	return terminal.WriteJSONLine(c.Stdout, line)
}

// OlderFlag is the flag --older of commands that install.
func OlderFlag() cli.Flag {
	return &cli.BoolFlag{Name: "older", Usage: "install a signed bundle even if a newer one is installed"}
}

// InstallBundle installs a bundle. It returns an error only if the install could not begin.
func InstallBundle(
	ctx context.Context, conf *config.Config, wanted BundleRequest, show *console.Progress, now func() time.Time,
) (*InstallOutcome, error) {
	began := now()
	opt, err := installOptions(conf)
	if err != nil {
		return nil, err
	}
	opt.Event, opt.Older, opt.DryRun, opt.Keep = showInstall(show), wanted.Older, wanted.DryRun, wanted.keep
	r, err := install.Install(ctx, wanted.Word, opt)
	out := &InstallOutcome{
		Kind: "install", Changed: r.Changed, Result: api.Done, Release: r.Release, Path: r.Path, Bundle: r.Bundle,
		Tree: r.Tree, Steps: slices.Concat([]install.Step{}, r.Steps), Seconds: now().Sub(began).Seconds(), Warnings: r.Warnings,
	}
	out.New = err == nil && wanted.DryRun && !r.There
	if m := r.Manifest; m != nil {
		out.Name, out.Commit, out.Packages = m.Name, m.Commit, install.Packages(m)
		out.Warnings = append(out.Warnings, missingProcesses(conf, m.Processes)...)
	}
	var source *install.SourceError
	var locked *releases.LockedError
	var failed *install.CommandError
	switch {
	case errors.As(err, &source):
		return nil, &commandline.UsageError{Err: err}
	case errors.As(err, &locked):
		return nil, err
	case errors.As(err, &failed):
		out.Log = failed.Output
	case err != nil && ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	if err != nil {
		out.Result, out.Error = api.Aborted, err.Error()
		if n := len(out.Steps); n > 0 {
			out.Failed = out.Steps[n-1].Name
		}
	}
	return out, nil
}

// missingProcesses returns a warning if the config lacks processes that the bundle names.
func missingProcesses(conf *config.Config, processes []string) []string {
	has := func(name string) bool {
		return slices.ContainsFunc(conf.Processes, func(p config.Process) bool { return p.Name == name })
	}
	missing := slices.DeleteFunc(slices.Clone(processes), has)
	if len(missing) == 0 {
		return nil
	}
	return []string{fmt.Sprintf(
		"the bundle needs the processes %s, but %s has no %s", strings.Join(processes, ", "), conf.Path,
		strings.Join(missing, ", "),
	)}
}

// installOptions returns the options of an install by this app's config.
func installOptions(conf *config.Config) (install.Options, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return install.Options{}, err
	}
	keys, err := conf.TrustedKeys()
	if err != nil {
		return install.Options{}, err
	}
	app, err := app.WorkersUser(conf)
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

// appEnvironment returns the environment of the app's processes in dir, which may be a release that
// is being installed.
func appEnvironment(conf *config.Config, store *releases.Store, app *config.User, dir string) daemon.Environ {
	with := *conf
	with.Virtualenv = true // a release from a bundle has one even if the app's processes do not use it
	conf = &with
	r := releases.Release{Path: dir}
	if filepath.Dir(dir) == store.Dir {
		if made, err := store.Get(dir); err == nil {
			r = made
		}
	}
	env, err := daemon.EnvironmentOf(conf, r, app)
	if err != nil { // the credentials of the unit exist only while it runs; the first install comes before that
		return daemon.BareEnvironment(conf, r, app)
	}
	return env
}

// showInstall returns a function that shows the events of an install. Progress within a step is for a
// terminal alone: anywhere else each event would be a line of its own.
func showInstall(p *console.Progress) func(install.Event) {
	return func(ev install.Event) {
		if ev.Type == "progress" {
			p.Annotate(plain.Line(ev.Detail))
			return
		}
		p.Event(api.Event{Type: ev.Type, Step: ev.Step, Detail: ev.Detail, Seconds: ev.Seconds})
	}
}

func (pr printer) install(app, word string, out *InstallOutcome) {
	p := terminal.PaletteFor(pr.Stdout)
	for _, w := range out.Warnings {
		terminal.Prose(pr.Stdout, "%s %s", p.Yellow("warning:"), w)
	}
	name := out.Release
	if name != "" && out.Commit != "" {
		name += " (" + terminal.ShortCommit(out.Commit) + ")"
	}
	switch {
	case out.Result != api.Done:
		terminal.Prose(
			pr.Stdout, "%s: %s %s: %s\nnothing was installed", app, cmp.Or(name, filepath.Base(word)),
			p.Red("was refused"), out.Error,
		)
		terminal.ProgramLog(pr.Stdout, "check", out.Log)
	case !out.Changed:
		terminal.Prose(pr.Stdout, "%s: %s is already installed from this bundle; nothing to do", app, name)
	default:
		terminal.Prose(
			pr.Stdout, "%s: %s %s in %s\n  path  %s\n  next  superctl switch %s", app, p.Bold(name),
			p.Green("is installed"), terminal.Seconds(out.Seconds), out.Path, out.Release,
		)
	}
}
