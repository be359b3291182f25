// Package install makes a release of a bundle.
//
// The release is made in a hidden directory beside the others and renamed into its place as the last step, so that it is there as a
// whole or not at all, whenever the install is killed. Nothing of a bundle is run but its smoke check, and no command runs
// as another user than the app's: the wheels are unpacked by package wheel. Nothing is written outside the directory of releases.
//
// It starts no process itself: whoever needs an install hands in what runs a command.
package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
	"superctl/releases"
	"superctl/releases/bundle"
	"superctl/releases/wheel"
)

// Options say where a bundle is installed and what it must be.
type Options struct {
	Store  *releases.Store
	Keys   []bundle.Key // of which one must have signed; none = signatures are not asked for
	Name   string       // of the app's bundles; "" = any
	Older  bool         // a signed bundle may be older than one that is installed
	Python string       // path of the interpreter; "" = the first in Search that fits
	Search string       // where interpreters are looked for, as PATH has it
	UserID *UserID      // of the app; nil = who runs this
	User   string       // name of the app's user, for messages; "" = who runs this

	Shared map[string]string // as releases.Sharing has it
	Owner  string            // likewise

	// Run runs a command to its end and hands on each line that it writes.
	Run func(ctx context.Context, c Command, line func(string)) error
	// EndLeft ends the commands of an install that was killed.
	EndLeft func() error
	Event   func(Event)

	// How patient it is; 0 = the defaults.
	Idle, FirstWait, FetchTime, CompileTime, SmokeTime time.Duration
}

// UserID is a user by its numbers.
type UserID struct{ UID, GID int }

// Command is one that an install runs, as the app's user.
type Command struct {
	Args []string
	Dir  string
	// InRelease: in the environment of a process of the release in Dir, if there is one.
	InRelease bool
}

// Event is something that happens during an install.
type Event struct {
	Type    string // "begin", "progress", "output", "end", "fail"
	Step    string
	Detail  string
	Seconds float64
}

// Step is one step of an install that has ended.
type Step struct {
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail,omitempty"`
}

// Result is what an install has come to.
type Result struct {
	Changed  bool
	Manifest *bundle.Manifest // nil when it was not read
	Release  string
	Path     string
	Bundle   string // SHA-256 of the file
	Tree     string // hash of the release's list of files
	Steps    []Step
	Warnings []string
}

// CommandError is a command of the bundle's that has failed.
type CommandError struct {
	Args   []string
	Err    error
	Output []string // its last lines
}

// Error says which, and how it ended.
func (e *CommandError) Error() string { return fmt.Sprintf("%q: %v", strings.Join(e.Args, " "), e.Err) }

// Unwrap is how it ended.
func (e *CommandError) Unwrap() error { return e.Err }

// install is one install.
type install struct {
	*Options
	Result
	root   *beneath.Dir // the directory of releases
	file   *os.File     // the private copy of the bundle: what is verified is what is used
	size   int64
	python *python
	hidden string       // name of the directory in root in which the release is made
	made   *beneath.Dir // that directory
	work   *os.Root     // likewise
	bytes  int64        // that it takes on disk
	venv   *wheel.Virtualenv

	venvRoot *os.Root
}

// Install installs the bundle that word names: a file, https:// or s3://. The result is never nil, and says how far it came.
func Install(ctx context.Context, word string, o Options) (*Result, error) {
	defaults(&o)
	in := &install{Options: &o}
	file, signature, err := o.sources(word)
	if err != nil {
		return &in.Result, err
	}
	lock, err := o.Store.Lock("superctl install")
	if err != nil {
		return &in.Result, err
	}
	err = in.run(ctx, word, file, signature)
	return &in.Result, errors.Join(err, lock.Unlock())
}

func defaults(o *Options) {
	for _, d := range []struct {
		value     *time.Duration
		otherwise time.Duration
	}{{&o.Idle, idleTime}, {&o.FirstWait, firstWait}, {&o.FetchTime, fetchTime}, {&o.CompileTime, compileTime}, {&o.SmokeTime, smokeTime}} {
		if *d.value == 0 {
			*d.value = d.otherwise
		}
	}
	if o.Event == nil {
		o.Event = func(Event) {}
	}
}

func (in *install) run(ctx context.Context, word string, file, signature source) (err error) {
	if in.root, err = beneath.Open(in.Store.Dir); err != nil {
		return fmt.Errorf("the directory of releases: %w", err)
	}
	defer in.root.Close()
	if err := in.sweep(ctx); err != nil {
		return fmt.Errorf("remove what an earlier install has left: %w", err)
	}
	if in.file, err = in.root.CreateTemp(); err != nil {
		return fmt.Errorf("make a copy of the bundle: %w", err)
	}
	defer in.file.Close()
	if err := in.fetch(ctx, file); err != nil {
		return err
	}
	if err := in.verify(ctx, word, signature); err != nil {
		return err
	}
	if there, err := in.isThere(ctx); there || err != nil {
		return err
	}
	if err := in.notOlder(); err != nil {
		return err
	}
	if names := slices.Sorted(maps.Keys(in.Manifest.Env)); len(names) > 0 {
		in.Warnings = append(in.Warnings, fmt.Sprintf("the bundle has variables of its build (%s), which are not for workers: write those that they need into [env]", strings.Join(few(names), ", ")))
	}
	if text := othersMayWrite(in.Store.Dir); text != "" {
		in.Warnings = append(in.Warnings, text)
	}
	err = in.make(ctx)
	in.close()
	if in.hidden != "" && !in.Changed {
		err = errors.Join(err, in.root.RemoveAll(context.WithoutCancel(ctx), in.hidden))
	}
	return err
}

// close closes the directories in which the release was made. Nothing is written through them any more.
func (in *install) close() {
	for _, root := range []*os.Root{in.work, in.venvRoot} {
		if root != nil {
			_ = root.Close()
		}
	}
	if in.made != nil {
		_ = in.made.Close()
	}
}

// othersMayWrite warns root of those who can put links in the way of the commands that make a virtualenv; superctl itself follows none.
func othersMayWrite(dir string) string {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(dir, &st) != nil {
		return ""
	}
	switch who := strconv.FormatUint(uint64(st.Uid), 10); {
	case st.Uid != 0:
		if u, err := user.LookupId(who); err == nil {
			who = u.Username
		}
		return fmt.Sprintf("%s belongs to %s, who could change a release while root makes it: install as %s, or chown root %s", dir, who, who, dir)
	case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
		return fmt.Sprintf("others than root may write to %s, and could change a release while root makes it: chmod go-w %s", dir, dir)
	}
	return ""
}

// make makes the release. in.hidden is set as soon as there is something to remove.
func (in *install) make(ctx context.Context) error {
	for _, s := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"platform", in.platform},
		{"space", in.space},
		{"unpack", in.unpack},
		{"virtualenv", in.virtualenv},
		{"compile", in.compile},
		{"smoke", in.smoke},
		{"finish", in.finish},
	} {
		if err := in.step(ctx, s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

// step runs one step and tells of it.
func (in *install) step(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	began := time.Now()
	in.Event(Event{Type: "begin", Step: name})
	detail, err := do(ctx)
	s := Step{Name: name, Began: began, Seconds: time.Since(began).Seconds(), Detail: detail}
	in.Steps = append(in.Steps, s)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		in.Event(Event{Type: "fail", Step: name, Seconds: s.Seconds})
		return fmt.Errorf("%s: %w", name, err)
	}
	in.Event(Event{Type: "end", Step: name, Detail: detail, Seconds: s.Seconds})
	return nil
}

// noteEvery is how often a step tells how far it is.
const noteEvery = 100 * time.Millisecond

// progress makes a function that tells how many bytes are done, not too often.
func (in *install) progress(step string) func(done, all int64) {
	var last time.Time
	return func(done, all int64) {
		if now := time.Now(); now.Sub(last) >= noteEvery {
			last = now
			text := Megabytes(done)
			if all > 0 {
				text = fmt.Sprintf("%s of %s, %d %%", text, Megabytes(all), done*100/all)
			}
			in.Event(Event{Type: "progress", Step: step, Detail: text})
		}
	}
}

// Megabytes is an amount of bytes for people.
func Megabytes(n int64) string {
	if n < 10<<20 {
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d MB", n>>20)
}

// fetch copies the bundle into a file that has no name, wherever it comes from, so that nobody can change it any more.
func (in *install) fetch(ctx context.Context, file source) error {
	return in.step(ctx, "fetch", func(ctx context.Context) (string, error) {
		if err := in.download(ctx, file, in.file, in.progress("fetch")); err != nil {
			return "", err
		}
		st, err := in.file.Stat()
		if err != nil {
			return "", err
		}
		in.size = st.Size()
		return fmt.Sprintf("%s from %s", Megabytes(in.size), file), nil
	})
}

// isThere looks whether this very bundle is installed already, and refuses another one under its name.
func (in *install) isThere(ctx context.Context) (bool, error) {
	in.Release = in.Manifest.Version
	in.Path = filepath.Join(in.Store.Dir, in.Release)
	if _, err := in.root.Lstat(in.Release); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	r, err := in.Store.Get(in.Path)
	if err != nil {
		return false, err
	}
	switch {
	case r.Bundle == in.Bundle && r.Broken == nil:
		in.Tree = r.Tree
		d, err := r.Verify(ctx, in.sharedPaths())
		if err != nil || !d.Empty() {
			in.Warnings = append(in.Warnings, fmt.Sprintf("%s is not as it was installed: superctl verify %s says what has changed", r.Name, r.Name))
		}
		return true, ctx.Err()
	case r.Bundle == "":
		return false, fmt.Errorf("there is a release %s already, which was not installed from a bundle: give the bundle another version, or move %s away", in.Release, in.Path)
	case r.Broken != nil:
		return false, fmt.Errorf("there is a release %s already, and it is broken: %w", in.Release, r.Broken)
	}
	other := ""
	if r.Commit != "" {
		other = " of commit " + r.Commit[:min(10, len(r.Commit))]
	}
	return false, fmt.Errorf("there is a release %s already, from another bundle%s (SHA-256 %.12s..., this one's is %.12s...): a version that is out is never changed, so build this one with another", in.Release, other, r.Bundle, in.Bundle)
}
