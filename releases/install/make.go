package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"superctl/beneath"
	"superctl/plain"
	"superctl/releases"
	"superctl/releases/bundle"
	"superctl/releases/wheel"
)

const (
	compileTime = 10 * time.Minute
	smokeTime   = 2 * time.Minute // for each command
	lastLines   = 30              // of what a command wrote
	venvDir     = "venv"
)

// partial returns the name of the hidden directory in which a release is built.
func partial(version string) string { return "." + version + ".partial" }

// sweep stops and removes the leftovers of killed installs. The caller holds the lock, so no
// install is in progress.
func (in *install) sweep(ctx context.Context) error {
	if in.EndLeft != nil {
		if err := in.EndLeft(); err != nil {
			return err
		}
	}
	entries, err := in.root.ReadDir()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), ".partial") {
			if err := in.root.RemoveAll(ctx, e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *install) platform(ctx context.Context) (detail string, err error) {
	if in.python, err = in.findPython(ctx, in.Manifest); err != nil {
		return "", err
	}
	if err := checkWheels(in.python, in.Manifest); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s %s", in.python.Path, in.python.Implementation, in.python.Version), nil
}

func (in *install) unpack(ctx context.Context) (string, error) {
	hidden := partial(in.Release)
	var err error
	if in.made, err = in.root.Mkdir(hidden, 0o755); err != nil {
		return "", err
	}
	in.hidden = hidden
	if in.work, err = in.made.Root(); err != nil {
		return "", err
	}
	if err := in.work.Mkdir(releases.Own, 0o755); err != nil {
		return "", err
	}
	if _, err := bundle.Unpack(in.reader(ctx, in.progress("unpack")), in.work, wheelsDir, nil, nil); err != nil {
		return "", err
	}
	return plain.Count(len(in.Manifest.Members), "file", "files"), nil
}

// virtualenv creates the release's virtualenv, with only the bundle's wheels.
func (in *install) virtualenv(ctx context.Context) (string, error) {
	names, err := in.wheels()
	if err != nil {
		return "", err
	}
	if err := in.measure(names); err != nil {
		return "", err
	}
	if err := in.emptyVirtualenv(ctx); err != nil {
		return "", err
	}
	if in.venv, err = wheel.Open(in.venvRoot, in.python.Scheme); err != nil {
		return "", err
	}
	for i, name := range names {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		progress := fmt.Sprintf("%d of %d wheels: %s", i+1, len(names), name)
		in.Event(Event{Type: "progress", Step: "virtualenv", Detail: progress})
		add := func(f *os.File, size int64) error { return in.venv.Add(name, f, size) }
		if err := in.withWheel(name, add); err != nil {
			return "", err
		}
	}
	in.Warnings = append(in.Warnings, few(in.venv.Conflicts)...)
	if err := in.venv.Finish(in.workPath(venvDir, "bin", "python")); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d wheels", len(names)), in.work.RemoveAll(wheelsDir)
}

// emptyVirtualenv creates a virtualenv as the app's user, and copies it into the release.
func (in *install) emptyVirtualenv(ctx context.Context) error {
	return in.scratch(ctx, func(dir *beneath.Dir, scratch string) error {
		made := filepath.Join(scratch, venvDir)
		if err := in.command(ctx, in.python.Path, "-I", "-m", "venv", "--without-pip", made); err != nil {
			return err
		}
		from, err := dir.Sub(venvDir)
		if err != nil {
			return err
		}
		if err := errors.Join(in.copyVirtualenv(from), from.Close()); err != nil {
			return err
		}
		if in.venvRoot, err = in.work.OpenRoot(venvDir); err != nil {
			return err
		}
		return in.settle(in.venvRoot, made)
	})
}

// few shortens a list for a message.
func few(list []string) []string {
	const most = 5
	if len(list) <= most {
		return list
	}
	return append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(list)-most))
}

// workPath returns a path in the hidden directory of the release.
func (in *install) workPath(elem ...string) string {
	return filepath.Join(append([]string{in.Store.Dir, in.hidden}, elem...)...)
}

// command runs a command that builds the release.
func (in *install) command(ctx context.Context, args ...string) error {
	var last lines
	if err := in.Run(ctx, Command{Args: args, Dir: in.workPath()}, last.add); err != nil {
		return fmt.Errorf("%s: %w%s", strings.Join(args, " "), err, plain.Indented(strings.Join(last, "\n")))
	}
	return nil
}

// lines are the last lines of a command's output.
type lines []string

func (l *lines) add(line string) {
	if *l = append(*l, line); len(*l) > lastLines {
		*l = (*l)[1:]
	}
}

// settle replaces the path at which the virtualenv was created by its final path: a virtualenv
// cannot be moved, except for what its interpreter finds relative to itself. Finish does the same
// for the scripts of the wheels.
func (in *install) settle(venv *os.Root, made string) error {
	files, err := fs.Glob(venv.FS(), "bin/*")
	if err != nil {
		return err
	}
	for _, name := range append(files, "pyvenv.cfg") {
		st, err := venv.Lstat(name)
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			continue // the interpreter
		}
		text, err := venv.ReadFile(name)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte(made), []byte(filepath.Join(in.Path, venvDir)))
		if err := venv.WriteFile(name, text, st.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// smoke seals the release and tests it before it can be switched to: its interpreter, and the
// bundle's own check. Nothing that they write stays in the release.
func (in *install) smoke(ctx context.Context) (string, error) {
	if err := in.share(); err != nil {
		return "", err
	}
	if err := in.writeMetadata(); err != nil {
		return "", err
	}
	if err := in.seal(in.work, ""); err != nil {
		return "", err
	}
	r, err := in.Store.Get(in.workPath())
	if err != nil {
		return "", err
	}
	err = r.Check(ctx, releases.CheckOptions{Run: func(ctx context.Context, args ...string) (string, error) {
		var last lines
		err := in.Run(ctx, Command{Args: args, Dir: r.Path, InRelease: true}, last.add)
		return strings.Join(last, "\n"), err
	}})
	if err != nil {
		return "", fmt.Errorf("it cannot be used%s: %w", in.asUser(), errors.Unwrap(err)) // without the hidden name
	}
	if len(in.Manifest.Smoke) == 0 {
		return "the interpreter runs; the bundle has no check of its own", nil
	}
	if err := in.smokeCommands(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d commands", len(in.Manifest.Smoke)), nil
}

// smokeCommands runs the bundle's own check, which must leave the release as it is.
func (in *install) smokeCommands(ctx context.Context) error {
	before, err := in.tree(ctx)
	if err != nil {
		return err
	}
	for _, args := range in.Manifest.Smoke {
		if err := in.smokeCommand(ctx, args); err != nil {
			return err
		}
	}
	after, err := in.tree(ctx)
	if err != nil {
		return err
	}
	if d := before.Compare(after); !d.Empty() {
		changed := few(slices.Concat(d.Added, d.Changed, d.Removed))
		return fmt.Errorf("the bundle's check has changed the release: %s", strings.Join(changed, ", "))
	}
	return nil
}

func (in *install) smokeCommand(ctx context.Context, args []string) error {
	limited, cancel := context.WithTimeoutCause(ctx, in.SmokeTime, fmt.Errorf("no end within %s", in.SmokeTime))
	defer cancel()
	var last lines
	err := in.Run(limited, Command{Args: args, Dir: in.workPath(), InRelease: true}, func(line string) {
		in.Event(Event{Type: "output", Step: "smoke", Detail: line})
		last.add(line)
	})
	if err != nil && ctx.Err() == nil {
		return &CommandError{Args: args, Err: err, Output: last}
	}
	return err
}

func (in *install) share() error {
	if len(in.Shared) == 0 {
		return nil
	}
	r := releases.Release{Name: in.Release, Path: in.workPath()}
	_, err := r.Share(releases.Sharing{Paths: in.Shared, Replace: true, Owner: in.Owner})
	return err
}

// tree lists the release without the shared paths.
func (in *install) tree(ctx context.Context) (releases.Tree, error) {
	return releases.ReadTree(ctx, in.workPath(), in.sharedPaths())
}

func (in *install) sharedPaths() []string { return slices.Collect(maps.Keys(in.Shared)) }

// writeMetadata writes release.toml, again each time more of it is known.
func (in *install) writeMetadata() error {
	m := in.Manifest
	text, err := toml.Marshal(releases.Metadata{
		Project: m.Name, Version: m.Version, Commit: m.Commit, Branch: m.Branch, Dirty: m.Dirty,
		Committed: m.Committed, Built: m.Built, Builder: m.Builder,
		Installed: time.Now().UTC().Truncate(time.Second), Bundle: in.Bundle, Tree: in.Tree, Size: in.bytes,
		Processes: m.Processes,
	})
	if err == nil {
		_, err = releases.ParseMetadata(text)
	}
	if err == nil {
		err = in.rewrite(releases.MetadataName, text)
	}
	return err
}

// rewrite writes a file that may be read-only.
func (in *install) rewrite(name string, text []byte) error {
	if err := in.work.Chmod(name, 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(in.work.WriteFile(name, text, 0o444), in.work.Chmod(name, 0o444))
}

// seal makes everything in a directory read-only, except the top directories of the release and of
// superctl, which finish seals.
func (in *install) seal(dir *os.Root, name string) error {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.IsDir():
			err = in.sealBelow(dir, e.Name(), path.Join(name, e.Name()))
		case e.Type().IsRegular():
			err = in.sealFile(dir, e)
		}
		if err != nil {
			return err
		}
	}
	if name == "" || name == releases.Own {
		return nil
	}
	return dir.Chmod(".", 0o555)
}

func (in *install) sealBelow(dir *os.Root, base, name string) error {
	below, err := dir.OpenRoot(base)
	if err != nil {
		return err
	}
	defer below.Close()
	return in.seal(below, name)
}

func (in *install) sealFile(dir *os.Root, e fs.DirEntry) error {
	st, err := e.Info()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o444)
	if st.Mode()&0o111 != 0 {
		mode = 0o555
	}
	return dir.Chmod(e.Name(), mode)
}

// finish writes the final paths and the list of files, and publishes the release.
func (in *install) finish(ctx context.Context) (string, error) {
	if err := in.venv.Finish(filepath.Join(in.Path, venvDir, "bin", "python")); err != nil {
		return "", err
	}
	in.bytes = releases.DiskUse(ctx, in.workPath()).Bytes
	if err := in.writeMetadata(); err != nil { // with its size
		return "", err
	}
	if err := in.writeTree(ctx); err != nil {
		return "", err
	}
	if err := errors.Join(in.work.Chmod(releases.Own, 0o555), in.work.Chmod(".", 0o555)); err != nil {
		return "", err
	}
	return "tree " + in.Tree[:12], in.publish()
}

func (in *install) writeTree(ctx context.Context) error {
	if err := in.work.Chmod(releases.Own, 0o555); err != nil { // the mode that the list records
		return err
	}
	tree, err := in.tree(ctx)
	if err != nil {
		return err
	}
	if err := in.work.Chmod(releases.Own, 0o755); err != nil {
		return err
	}
	if in.Tree, err = tree.Write(in.work); err != nil {
		return err
	}
	return in.writeMetadata()
}

// publish renames the release into place, once all of it is on the disk.
func (in *install) publish() error {
	if err := in.root.SyncFS(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := in.root.RenameNew(in.hidden, in.Release); err != nil {
		return fmt.Errorf("rename the release to %s: %w", in.Path, err)
	}
	if !in.root.Same(in.Release, in.made) {
		return fmt.Errorf("%s is not the release that was built: another process renamed directories in %s meanwhile",
			in.Path, in.Store.Dir)
	}
	in.Changed = true
	return in.root.Sync()
}
