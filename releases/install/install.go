// Package install turns a bundle into a release.
//
// It builds the release in a hidden directory next to the others and renames it into place as the
// last step, so that the release exists completely or not at all, even if the install is killed. Of
// a bundle it executes only the smoke check, and every command runs as the app's user: package
// wheel unpacks the wheels without executing them. It writes nothing outside the directory of
// releases.
//
// It starts no process itself: the caller passes a function that runs a command.
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

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"superctl/beneath"
	"superctl/releases"
	"superctl/releases/bundle"
	"superctl/releases/wheel"
)

// Options describe where a bundle is installed and what it must be.
type Options struct {
	Store  *releases.Store
	Keys   []bundle.Key // one of them must have signed the bundle; none = signatures are not required
	Name   string       // required name of the bundle; "" = any
	Older  bool         // allow a signed bundle that is older than an installed one
	Keep   bool         // keep the bundle, so that the next one can be sent as a difference to it
	DryRun bool         // check everything that can be checked before anything is unpacked, and stop
	Python string       // path of the interpreter; "" = the first in Search that fits
	Search string       // directories of interpreters, like PATH
	UserID *UserID      // of the app; nil = the user of this process
	User   string       // name of the app's user, for messages; "" = the user of this process

	Shared map[string]string // see releases.Sharing
	Owner  string            // see releases.Sharing

	// Run runs a command to its end and passes each line of its output to line.
	Run func(ctx context.Context, c Command, line func(string)) error
	// EndLeft stops the commands of an install that was killed.
	EndLeft func() error
	Event   func(Event)

	// Time limits; 0 = the defaults.
	Idle, FirstWait, FetchTime, CompileTime, SmokeTime time.Duration
}

// UserID is a user by UID and GID.
type UserID struct{ UID, GID int }

// Command is a command that an install runs as the app's user.
type Command struct {
	Args []string
	Dir  string
	// InRelease runs it in the environment of a process of the release in Dir, if there is one.
	InRelease bool
}

// Event reports the progress of an install.
type Event struct {
	Type    string // "begin", "progress", "output", "end", "fail"
	Step    string
	Detail  string
	Seconds float64
}

// Step is a finished step of an install.
type Step struct {
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail,omitempty"`
}

// Result is the result of an install.
type Result struct {
	Changed  bool
	There    bool             // the same bundle was installed before
	Manifest *bundle.Manifest // nil when it was not read
	Release  string
	Path     string
	Bundle   string // SHA-256 of the file
	Tree     string // hash of the release's list of files
	Steps    []Step
	Warnings []string
}

// CommandError is the error when a command of the bundle fails.
type CommandError struct {
	Args   []string
	Err    error
	Output []string // the last lines
}

// Error returns the command and how it ended.
func (e *CommandError) Error() string { return fmt.Sprintf("%q: %v", strings.Join(e.Args, " "), e.Err) }

// Unwrap returns how the command ended.
func (e *CommandError) Unwrap() error { return e.Err }

// install is one run of Install.
type install struct {
	*Options
	Result
	root   *beneath.Dir // the directory of releases
	file   *os.File     // private copy of the bundle: the file that is verified is the one that is used
	size   int64
	python *python
	hidden string       // name of the directory in root in which the release is built
	made   *beneath.Dir // that directory
	work   *os.Root     // the same directory
	bytes  int64        // its size on disk
	venv   *wheel.Virtualenv

	venvRoot *os.Root
}

// Install installs the bundle that word names: a file, https:// or s3://. The result is never nil,
// and records how far the install got.
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
	}{
		{&o.Idle, idleTime},
		{&o.FirstWait, firstWait},
		{&o.FetchTime, fetchTime},
		{&o.CompileTime, compileTime},
		{&o.SmokeTime, smokeTime},
	} {
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
	if !in.DryRun {
		if err := in.sweep(ctx); err != nil {
			return fmt.Errorf("remove the leftovers of an earlier install: %w", err)
		}
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
	if in.There, err = in.isThere(ctx); in.There || err != nil {
		return err
	}
	if err := in.notOlder(); err != nil {
		return err
	}
	in.warn()
	if in.DryRun {
		return in.steps(ctx, in.fit())
	}
	return in.makeOrRemove(ctx)
}

// warn warns of what may go wrong with a release that can be installed.
func (in *install) warn() {
	if names := slices.Sorted(maps.Keys(in.Manifest.Env)); len(names) > 0 {
		in.Warnings = append(in.Warnings, fmt.Sprintf("the bundle has variables of its build (%s), "+
			"which are not for workers: write those that they need into [env]", strings.Join(few(names), ", ")))
	}
	if text := othersMayWrite(in.Store.Dir); text != "" {
		in.Warnings = append(in.Warnings, text)
	}
}

// makeOrRemove makes the release. If that fails, it removes the directory in which it was built.
func (in *install) makeOrRemove(ctx context.Context) error {
	err := in.make(ctx)
	in.close()
	if err == nil && in.Keep {
		in.keep()
	}
	if in.hidden != "" && !in.Changed {
		err = errors.Join(err, in.root.RemoveAll(context.WithoutCancel(ctx), in.hidden))
	}
	return err
}

// close closes the directories in which the release was built.
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

// othersMayWrite returns a warning for root if other users can place links in the way of the
// commands that create a virtualenv. superctl itself follows no link.
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
		return fmt.Sprintf("%s belongs to %s, who could change a release while root builds it: install as %s, "+
			"or chown root %s",
			dir, who, who, dir)
	case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
		return fmt.Sprintf("users other than root may write to %s, and could change a release while root builds it: "+
			"chmod go-w %s",
			dir, dir)
	}
	return ""
}

// phase is a step of an install and what it does.
type phase struct {
	name string
	do   func(context.Context) (string, error)
}

// fit returns the steps that find out whether the release fits this machine. They change nothing.
func (in *install) fit() []phase { return []phase{{"platform", in.platform}, {"space", in.space}} }

// make builds the release. in.hidden is set as soon as there is a directory to remove.
func (in *install) make(ctx context.Context) error {
	return in.steps(ctx, append(in.fit(), []phase{
		{"unpack", in.unpack},
		{"virtualenv", in.virtualenv},
		{"compile", in.compile},
		{"smoke", in.smoke},
		{"finish", in.finish},
	}...))
}

// steps runs steps until one fails.
func (in *install) steps(ctx context.Context, list []phase) error {
	for _, s := range list {
		if err := in.step(ctx, s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

// step runs one step and reports it.
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

// noteEvery is the minimum interval between two progress events.
const noteEvery = 100 * time.Millisecond

// progress returns a function that reports the bytes done, at most once per noteEvery.
func (in *install) progress(step string) func(done, all int64) {
	var last time.Time
	return func(done, all int64) {
		if now := time.Now(); now.Sub(last) >= noteEvery {
			last = now
			text := sizeText(done)
			if all > 0 {
				text = fmt.Sprintf("%s of %s, %d %%", text, sizeText(all), done*100/all)
			}
			in.Event(Event{Type: "progress", Step: step, Detail: text})
		}
	}
}

// sizeText formats a number of bytes for people, such as 148 MB.
func sizeText(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// fetch copies the bundle, from any source, into a file without a name, so that no other process
// can change it.
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
		return fmt.Sprintf("%s from %s", sizeText(in.size), file), nil
	})
}

// isThere reports whether the same bundle is already installed, and refuses another one with its
// version.
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
			in.Warnings = append(in.Warnings, fmt.Sprintf("%s was changed since its installation: "+
				"see superctl verify %s", r.Name, r.Name))
		}
		return true, ctx.Err()
	case r.Bundle == "":
		return false, fmt.Errorf("there is a release %s already, which was not installed from a bundle: "+
			"give the bundle another version, or move %s away", in.Release, in.Path)
	case r.Broken != nil:
		return false, fmt.Errorf("there is a release %s already, and it is broken: %w", in.Release, r.Broken)
	}
	other := ""
	if r.Commit != "" {
		other = " of commit " + r.Commit[:min(10, len(r.Commit))]
	}
	return false, fmt.Errorf("there is a release %s already, from another bundle%s (SHA-256 %.12s..., "+
		"this one's is %.12s...): "+
		"a published version never changes, so build this one with another version", in.Release, other, r.Bundle,
		in.Bundle)
}
