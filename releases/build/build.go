// Package build builds a bundle of a project: the files that git tracks, each locked dependency as
// a wheel for one interpreter, and a manifest.
//
// The same commit and the same lock produce the same bytes on the same kind of machine. A
// dependency whose own build is not deterministic is reported by name. Everything from the network
// is cached by hash, so that building an unchanged lock again needs no network.
//
// It starts no process itself: git, pip, uv and the project's own commands run through a function
// passed by the caller. It writes to the cache, to a temporary directory that it removes, and the
// bundle, never into the project.
package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"superctl/redact"
	"superctl/releases/bundle"
)

// Options say what to build, and how.
type Options struct {
	Dir     string // of the project
	Name    string // "" = that of pyproject.toml, or of the directory
	Version string // "" = the commit's time and its beginning

	Files         []string // instead of what git tracks
	Lock          string   // "" = the first of uv.lock, pylock.toml, requirements.txt
	Extras        []string // that are taken from the lock
	Groups        []string // likewise
	RequirePinned bool     // refuse what has no hash
	Python        string   // "" = .python-version, else python3
	Package       *bool    // the project itself is a wheel too; nil = when its pyproject.toml says how to build one

	Run       [][]string // commands in a copy of the project, with its dependencies
	Outputs   []string   // what they make for the bundle
	Smoke     [][]string
	Env       map[string]string // of the commands that Run names, and of nothing else
	Processes []string
	Builder   string
	Superctl  string // version

	Output string // a file, or a directory; "" = here
	Force  bool   // replace another bundle of the same name

	Cache   string // directory
	Environ []string
	Exec    Runner
	Now     func() time.Time
	Show    func(Event) // is called with each event of the build
}

// Result is what was built.
type Result struct {
	File     string
	Changed  bool // false: the very same file was there
	Bytes    int64
	SHA256   string
	Wheels   int
	Manifest *bundle.Manifest
	Warnings []string
	Steps    []Step
	Failed   string // the step that failed
}

// Step is a part of a build that has ended.
type Step struct {
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail,omitempty"`
}

// Event tells of a build while it goes on.
type Event struct {
	Type    string // "begin", "progress", "output", "end", "fail"
	Step    string
	Detail  string
	Seconds float64
	Done    int64 // of a progress: so much
	Total   int64 // of so much; 0 = not known
}

// InputError is a build that cannot be because of what it was asked: the command line, the config,
// or the project.
type InputError struct{ Reason string }

func (e *InputError) Error() string { return e.Reason }

func inputError(format string, args ...any) error { return &InputError{fmt.Sprintf(format, args...)} }

// Build builds a bundle. The result has what was done until an error.
func Build(ctx context.Context, opt Options) (*Result, error) {
	opt = discreet(opt)
	b := &builder{Options: opt, cache: cache{dir: opt.Cache}, result: new(Result), began: opt.Now()}
	var err error
	if b.Dir, err = filepath.Abs(opt.Dir); err != nil {
		return b.result, err
	}
	if st, err := os.Stat(b.Dir); err != nil || !st.IsDir() {
		return b.result, inputError("%s is not a directory", opt.Dir)
	}
	if err := b.checkOutput(); err != nil {
		return b.result, err
	}
	if b.temp, err = os.MkdirTemp("", "superctl-build-"); err != nil {
		return b.result, err
	}
	b.stage = filepath.Join(b.temp, "project")
	err = b.build(ctx)
	return b.result, errors.Join(err, removeAll(b.temp))
}

// discreet takes secrets out of what the programs of a build write: of the values of variables,
// where the name says that they are secret, and the passwords of addresses, such as those of an
// index.
func discreet(opt Options) Options {
	var known redact.Secrets
	for _, kv := range opt.Environ {
		name, value, _ := strings.Cut(kv, "=")
		known.Named(name, value)
	}
	for name, value := range opt.Env {
		known.Named(name, value)
	}
	secrets, exec, tell := known.Redactor(), opt.Exec, opt.Show
	opt.Exec = func(ctx context.Context, c Command, line func(string)) error {
		return exec(ctx, c, func(l string) { line(secrets.Text(l)) })
	}
	opt.Show = func(ev Event) {
		ev.Detail = secrets.Text(ev.Detail)
		tell(ev)
	}
	return opt
}

// builder is one build. Each step fills in what the next ones need.
type builder struct {
	Options
	temp   string // directory of this build
	stage  string // in it, the copy of the project
	cache  cache
	result *Result

	began   time.Time
	source  source
	files   []file
	project pyproject
	python  python
	lock    lock
	wheels  []wheel
	outputs []file
}

func (b *builder) build(ctx context.Context) error {
	for _, s := range []struct {
		name string
		do   func(context.Context) (detail string, err error)
	}{
		{"project", b.readProject},
		{"python", b.search().find},
		{"lock", b.locks().read},
		{"wheels", b.makeWheels},
		{"run", b.runCommands},
		{"bundle", b.writeBundle},
	} {
		if s.name == "run" && len(b.Run) == 0 {
			continue
		}
		if err := b.step(ctx, s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) step(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	began := b.Now()
	b.Show(Event{Type: "begin", Step: name})
	detail, err := do(ctx)
	took := b.Now().Sub(began).Seconds()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		b.Show(Event{Type: "fail", Step: name, Seconds: took})
		b.result.Failed = name
		return fmt.Errorf("%s: %w", name, err)
	}
	b.Show(Event{Type: "end", Step: name, Detail: detail, Seconds: took})
	b.result.Steps = append(b.result.Steps, Step{Name: name, Began: began, Seconds: took, Detail: detail})
	return nil
}

func (b *builder) warn(format string, args ...any) {
	b.result.Warnings = append(b.result.Warnings, fmt.Sprintf(format, args...))
}

// removeAll removes a directory of this build, in which a command may have made directories that
// cannot be written to.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // a directory that is removed next
		}
		return nil
	})
	return os.RemoveAll(dir)
}
