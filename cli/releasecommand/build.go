//go:build linux

package releasecommand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/releases/build"
	"superctl/releases/bundle"
	"superctl/supervisor/worker"
	"superctl/version"
)

// BuildOutcome is what `build --json` prints.
type BuildOutcome struct {
	Result   string       `json:"result"` // "done" or "aborted"
	Changed  bool         `json:"changed"`
	File     string       `json:"file,omitempty"`
	Name     string       `json:"name,omitempty"`
	Version  string       `json:"version,omitempty"`
	Commit   string       `json:"commit,omitempty"`
	Dirty    bool         `json:"dirty,omitempty"`
	Bytes    int64        `json:"bytes,omitempty"`
	SHA256   string       `json:"sha256,omitempty"`
	Wheels   int          `json:"wheels"`
	Signed   string       `json:"signed,omitempty"` // the file of its signature
	Steps    []build.Step `json:"steps"`
	Warnings []string     `json:"warnings"`
	Seconds  float64      `json:"seconds"`
	Error    string       `json:"error,omitempty"`
}

// Build is the command superctl build.
func Build(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "build", Usage: "build a bundle: one file with a project and its dependencies",
		UsageText: "superctl build [DIR] [-o FILE-or-DIR] [--sign KEYFILE] [--run COMMAND]... [--include PATH]... [--json]",
		Description: `Builds NAME-VERSION.tar.zst from the project in DIR (default: the current directory): the files that
git tracks, and every dependency of the lock file as a wheel for this machine's Python. superctl
deploy installs the bundle on a server without network access. The lock file is uv.lock, pylock.toml
or requirements.txt. The same commit builds the same bytes. Downloads are cached ($SUPERCTL_CACHE).
Set other options in [build] in DIR/superctl.toml.

   superctl build                             build the checked-out commit
   superctl build -o dist/ --sign ~/key       write the bundle and its signature to dist/
   superctl build --run "python manage.py collectstatic --noinput" --include static
   superctl build --version 4.2 --json        for scripts: "file" and "sha256" identify the bundle`,
		Flags: buildFlags(),
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 1); err != nil {
				return err
			}
			return c.build(cc)
		},
	}
}

func buildFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "output", Aliases: []string{"o"}, Usage: "write the bundle to `FILE` or into this directory",
		},
		&cli.StringFlag{
			Name: "name",
			Usage: "the `NAME` of the bundle " +
				"(default: app in superctl.toml, project.name in pyproject.toml, else the directory)",
		},
		&cli.StringFlag{
			Name:  "version",
			Usage: "the `VERSION`, also the name of the release (default: the commit's time and abbreviated hash)",
		},
		&cli.StringFlag{
			Name: "python",
			Usage: "the `PYTHON` that runs the release: a version, name or path " +
				"(default: .python-version, else python3)",
		},
		&cli.StringFlag{Name: "lock", Usage: "use this lock `FILE`"},
		&cli.BoolFlag{Name: "require-pinned", Usage: "refuse a lock file with an entry without a hash"},
		&cli.StringSliceFlag{
			Name: "run",
			Usage: "run `COMMAND` in a copy of the project, after the commands of the config; " +
				"name what it makes with --include",
		},
		&cli.StringSliceFlag{
			Name: "include", Usage: "add `PATH`, which the commands make, to the bundle, in addition to [build] output",
		},
		&cli.StringFlag{Name: "builder", Usage: "the `NAME` of the builder for the manifest ($SUPERCTL_BUILDER)"},
		&cli.StringFlag{
			Name: "sign", Usage: "sign the bundle with the private key in `KEYFILE` (superctl keygen creates one)",
		},
		&cli.StringFlag{
			Name: "password-file", Usage: "read the password of the key from the first line of `FILE`",
		},
		&cli.BoolFlag{Name: "force", Usage: "replace another bundle of the same name"},
		commandline.JSONFlag(),
	}
}

// signer returns the function that signs a bundle, or nil if no key file is given. It reads the key
// at once, so that a wrong password is reported before the build.
func signer(keyFile, passwordFile string) (func(file, sha, comment string) error, error) {
	if keyFile == "" {
		return nil, nil
	}
	key, err := readPrivateKey(keyFile, passwordFile)
	if err != nil {
		return nil, commandline.Usagef("build: %w", err)
	}
	return func(file, sha, comment string) error { return bundle.Sign(file, sha, key, comment) }, nil
}

func (c *command) build(cc *cli.Context) error {
	began := c.Now()
	opt, err := c.buildOptions(cc)
	if err != nil {
		return err
	}
	sign, err := signer(cc.String("sign"), cc.String("password-file"))
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	syscall.Umask(0o022) // file modes in the bundle must not depend on who builds it
	show := c.Progress(cc)
	opt.Show = ShowBuild(show)
	r, err := build.Build(ctx, opt)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted; nothing was written")
	}
	show.End(console.ErrorText(err))
	out := outcomeOf(r)
	if err == nil && sign != nil {
		out.Signed = r.File + bundle.SignatureSuffix
		err = sign(r.File, r.SHA256, signatureComment(r, opt.Builder, c.Now()))
	}
	out.Seconds = c.Now().Sub(began).Seconds()
	return c.print().concludeBuild(cc, out, err)
}

// concludeBuild prints the outcome of a build, and returns the error of its exit code.
func (pr printer) concludeBuild(cc *cli.Context, out *BuildOutcome, err error) error {
	if cc.Bool("json") {
		if err != nil {
			out.Result, out.Changed, out.Error = "aborted", false, err.Error()
		}
		if bad := pr.JSON(out); bad != nil {
			return bad
		}
	}
	var input *build.InputError
	switch {
	case errors.As(err, &input):
		return commandline.Usagef("build: %w", err)
	case err != nil:
		return fmt.Errorf("build: %w", err)
	case !cc.Bool("json"):
		pr.build(out, afterBuild(cc, out))
	}
	return nil
}

// signatureComment returns the trusted comment of a signature: the bundle, its builder and the
// time.
func signatureComment(r *build.Result, by string, at time.Time) string {
	return fmt.Sprintf(
		"%s built by %s at %s", r.Manifest.File(), cmp.Or(by, builder()), at.UTC().Format(time.RFC3339),
	)
}

// projectCommands adds the commands of the command line, and what they make, to those of the config.
func projectCommands(cc *cli.Context, opt *build.Options) error {
	for _, text := range cc.StringSlice("run") {
		words, err := shellquote.Split(text)
		if err != nil || len(words) == 0 {
			return commandline.Usagef("build: --run %q: not a command", text)
		}
		if w := config.ShellSyntax(words); w != "" {
			return commandline.Usagef(
				"build: --run %q: %s needs a shell, and superctl starts none: use --run 'sh -c \"...\"', or --run twice",
				text, w,
			)
		}
		opt.Run = append(opt.Run, words)
	}
	for _, p := range cc.StringSlice("include") {
		if !filepath.IsLocal(p) || filepath.Clean(p) == "." {
			return commandline.Usagef("build: --include %s: write a path in the project, without / at its beginning", p)
		}
		opt.Outputs = append(opt.Outputs, p)
	}
	if len(opt.Outputs) > 0 && len(opt.Run) == 0 {
		return commandline.Usagef("build: --include %s: no command makes it: add --run COMMAND", opt.Outputs[0])
	}
	return nil
}

// buildOptions returns the options of the command line, or of the config where a flag is not given.
func (c *command) buildOptions(cc *cli.Context) (opt build.Options, err error) {
	opt, err = ProjectOptions(cmp.Or(cc.Args().First(), "."), cc.String("config"), c.Now)
	if err != nil {
		return opt, err
	}
	opt.Name, opt.Version = cmp.Or(cc.String("name"), opt.Name), cmp.Or(cc.String("version"), opt.Version)
	opt.Lock, opt.Python = cmp.Or(cc.String("lock"), opt.Lock), cmp.Or(cc.String("python"), opt.Python)
	opt.Builder = cmp.Or(cc.String("builder"), opt.Builder)
	opt.RequirePinned, opt.Output, opt.Force = cc.Bool("require-pinned"), cc.String("output"), cc.Bool("force")
	return opt, projectCommands(cc, &opt)
}

// ProjectOptions returns the options of the config of a project; file is that config, or "".
func ProjectOptions(dir, file string, now func() time.Time) (build.Options, error) {
	conf, err := loadBuild(dir, file)
	if err != nil {
		return build.Options{}, err
	}
	cache, err := buildCache(os.Getenv)
	return build.Options{
		Dir: dir, Name: conf.Name, Version: conf.Version, Files: conf.Files, Lock: conf.Lock, Python: conf.Python,
		Package: conf.Package, Extras: conf.Extras, Groups: conf.Groups, Run: conf.Run, Outputs: conf.Output,
		Smoke: conf.Smoke, Env: conf.Env, Processes: conf.Processes, Builder: os.Getenv("SUPERCTL_BUILDER"),
		Superctl: version.String(), Environ: os.Environ(), Now: now, Cache: cache,
		Exec: func(ctx context.Context, cmd build.Command, line func(string)) error {
			return worker.Run(ctx, worker.Command{Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Stdout: cmd.Stdout}, line)
		},
	}, err
}

// loadBuild reads [build] from file. If file is "", it reads the config of the project, which may
// have none.
func loadBuild(dir, file string) (*config.Build, error) {
	if file == "" {
		file = filepath.Join(dir, "superctl.toml")
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return new(config.Build), nil
		}
	}
	conf, err := config.LoadBuild(file)
	if err != nil {
		return nil, &commandline.UsageError{Err: err}
	}
	return conf, nil
}

// buildCache returns the directory for downloads and built wheels.
func buildCache(getenv func(string) string) (string, error) {
	if dir := getenv("SUPERCTL_CACHE"); dir != "" {
		return filepath.Join(dir, "build"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/superctl/build", nil
	}
	dir := getenv("XDG_CACHE_HOME")
	if dir == "" && getenv("HOME") != "" {
		dir = filepath.Join(getenv("HOME"), ".cache")
	}
	if dir == "" {
		return "", commandline.Usagef("build: no cache directory: HOME is not set: set SUPERCTL_CACHE to a directory")
	}
	return filepath.Join(dir, "superctl", "build"), nil
}

// builder returns the user and host that build, such as anna@ci.
func builder() string {
	name := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

func outcomeOf(r *build.Result) *BuildOutcome {
	out := &BuildOutcome{
		Result: "done", Changed: r.Changed, File: r.File, Bytes: r.Bytes, SHA256: r.SHA256, Wheels: r.Wheels,
		Steps: r.Steps, Warnings: slices.Concat([]string{}, r.Warnings),
	}
	if m := r.Manifest; m != nil {
		out.Name, out.Version, out.Commit, out.Dirty = m.Name, m.Version, m.Commit, m.Dirty
	}
	return out
}

// afterBuild returns the command that deploys the bundle: on this machine if an app here accepts
// it, else on a server.
func afterBuild(cc *cli.Context, out *BuildOutcome) string {
	words := []string{"superctl"}
	conf, err := app.Load(cc)
	if err == nil && conf.Install.Name == out.Name {
		if file := cc.String("config"); file != "" {
			words = append(words, "--config", file)
		} else if app := cc.String("app"); app != "" {
			words = append(words, "--app", app)
		}
		return shellquote.Join(append(words, "deploy", out.File)...)
	}
	words = append(words, "--app", out.Name, "deploy")
	if conf, err = config.Load(config.PathOf(out.Name)); err == nil && conf.Install.Name == out.Name {
		return shellquote.Join(append(words, out.File)...)
	}
	what := "it"
	if out.Signed != "" {
		what = "it and its signature"
	}
	return fmt.Sprintf(
		"copy %s to a server and run there: %s", what, shellquote.Join(append(words, filepath.Base(out.File))...),
	)
}

// build prints what was built and the next step.
func (pr printer) build(out *BuildOutcome, next string) {
	p := terminal.PaletteFor(pr.Stdout)
	for _, w := range out.Warnings {
		terminal.Prose(pr.Stdout, "%s %s", p.Yellow("warning:"), w)
	}
	how := p.Green("built") + " in " + terminal.Seconds(out.Seconds)
	if !out.Changed {
		how = "already built and identical; nothing to do"
	}
	terminal.Prose(pr.Stdout, "%s %s: %s", p.Bold(out.Name), p.Bold(out.Version), how)
	terminal.Prose(
		pr.Stdout, "  file    %s (%s, %d wheels)\n  sha256  %s", out.File, build.Size(out.Bytes), out.Wheels,
		out.SHA256,
	)
	if out.Signed != "" {
		terminal.Prose(pr.Stdout, "  signed  %s", out.Signed)
	}
	terminal.Prose(pr.Stdout, "  next    %s", next)
}
