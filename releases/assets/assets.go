// Package assets publishes the static files of releases in one directory, which a web server such
// as nginx serves.
//
// A page that the old release rendered names the old release's files, also after a switch. The
// directory therefore has the files of every release that is kept. Publish adds those of a release
// before it gets connections, and changes no file that is there. Refresh gives the names that
// several releases have, with different content, the content of the live release. Sweep removes
// files that no release has any more.
//
// A file is a hard link to the release's, or a copy where there can be no link. No file is ever
// written to: a file that changes is replaced by rename, so that the web server sees the old content
// or the new, and a link to another file is never followed. Each operation can be repeated after a
// crash at any point. Sweep removes only what Publish and Refresh have recorded.
package assets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// Set is a directory of static files in each release, and the directory that they are published in.
type Set struct {
	Name  string        // in the config, for messages
	App   string        // whose releases they are: no other app may publish in To
	From  string        // path inside a release
	To    string        // absolute path
	Keep  time.Duration // how long a file stays after the last release that has it
	State string        // directory for the record of published files
	Owner string        // "USER" or "USER:GROUP" of the app, for the commands in messages

	step func(op string) // called before each change on disk; nil except in tests
}

// Release is a release whose files are published.
type Release struct{ Name, Path string }

// Result counts the files of a release.
type Result struct {
	Files   int // of the release
	Added   int // new in the directory
	Changed int // replaced, or with Publish to be replaced
}

// Publish adds the files of a release that the directory lacks. A name that the directory has with
// other content keeps it, because the live release uses it.
func (s *Set) Publish(ctx context.Context, r Release) (Result, error) { return s.bring(ctx, r, false) }

// Refresh gives every name of a release the content that the release has.
func (s *Set) Refresh(ctx context.Context, r Release) (Result, error) { return s.bring(ctx, r, true) }

// Look reports what Publish would find in a release, without changing anything.
func (s *Set) Look(ctx context.Context, r Release) (Result, error) {
	src, err := s.openSource(r)
	if err != nil {
		return Result{}, err
	}
	defer src.close()
	files, err := src.list(ctx)
	return Result{Files: len(files)}, err
}

func (s *Set) bring(ctx context.Context, r Release, replace bool) (res Result, err error) {
	src, err := s.openSource(r)
	if err != nil {
		return res, err
	}
	defer src.close()
	files, err := src.list(ctx)
	if err != nil {
		return res, err
	}
	t, err := s.openTarget()
	if err != nil {
		return res, err
	}
	defer t.close()
	// Before the files: a file that is not on record would never be removed.
	if err := t.record.add(files); err != nil {
		return res, s.failed(err)
	}
	res.Files = len(files)
	byDir := make(map[string][]file)
	for _, f := range files {
		byDir[path.Dir(f.path)] = append(byDir[path.Dir(f.path)], f)
	}
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		if err := t.fill(ctx, src, dir, byDir[dir], replace, &res); err != nil {
			return res, err
		}
	}
	return res, nil
}

// failed wraps an error of the directory or the record, and adds the next step where it is known.
func (s *Set) failed(err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("assets.%s: %w: add ReadWritePaths=%s to a drop-in of the unit", s.Name, err, s.To)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("assets.%s: %w: make it the directory of the daemon's user: chown -R %s %s",
			s.Name, err, s.Owner, s.To)
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("assets.%s: %w: free space, and repeat the command", s.Name, err)
	}
	return fmt.Errorf("assets.%s: %w", s.Name, err)
}

// fault announces a change on disk to a test.
func (s *Set) fault(op string) {
	if s.step != nil {
		s.step(op)
	}
}

// Check returns why nothing can be published in the directory.
func (s *Set) Check() error {
	dir, err := beneath.Open(s.To)
	if errors.Is(err, fs.ErrNotExist) {
		parent, err := beneath.Open(filepath.Dir(s.To))
		if err != nil {
			return s.noParent(err)
		}
		return parent.Close()
	}
	if err != nil {
		return s.failed(err)
	}
	defer dir.Close()
	if err := s.belongs(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Set) noParent(err error) error {
	owner := ""
	if user, group, ok := strings.Cut(s.Owner, ":"); ok {
		owner = " -o " + user + " -g " + group
	}
	return fmt.Errorf("assets.%s: %w: install -d%s %s", s.Name, err, owner, s.To)
}

// manifests returns the files in which Django, Vite and Flask-Assets look up the names of static
// files. Each release needs its own.
func manifests() []string {
	return []string{"staticfiles.json", ".vite/manifest.json", ".webassets-manifest"}
}

// SharedManifests returns the paths of the manifests in a directory that all releases share.
func SharedManifests(dir string) (paths []string) {
	d, err := beneath.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	for _, name := range manifests() {
		if f, err := d.OpenPath(name); err == nil {
			_ = f.Close() // it was not read
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// staysInRelease reports whether a path is not published: manifests, and hidden files such as .git.
func staysInRelease(name string) bool {
	first := path.Base(name)
	return strings.HasPrefix(first, ".") && first != ".well-known" || slices.Contains(manifests(), name)
}
