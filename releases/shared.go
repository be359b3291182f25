package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"superctl/beneath"
)

// Sharing describes how the shared paths of an app are linked into a release.
type Sharing struct {
	// Paths maps paths inside the release to their targets outside.
	Paths map[string]string
	// InUse means that workers run from the release: missing links are created, but nothing is
	// removed.
	InUse bool
	// Replace means that the release is a copy in progress: content in the place of a shared path
	// is removed.
	Replace bool
	// Owner is "USER" or "USER:GROUP" of the app, for the commands in messages.
	Owner string
}

// Share links the shared paths into a release. It returns one line for each link made. Correct
// links stay untouched; if any path cannot be linked, the error has the reason and no link is made.
//
// It never leaves the release's directory, even if there are links inside.
func (r Release) Share(s Sharing) (made []string, err error) {
	root, err := openRoot(r.Path)
	if err != nil {
		return nil, fmt.Errorf("shared paths: %w", err)
	}
	defer root.Close()
	links, err := r.missingLinks(root, s)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if err := l.make(); err != nil {
			return made, err
		}
		made = append(made, l.name+" -> "+l.target+l.found.text())
	}
	return made, nil
}

// Unshared returns the shared paths that Share would link, without changing anything. The error is
// the one that Share would return.
func (r Release) Unshared(s Sharing) (names []string, err error) {
	root, err := os.OpenRoot(r.Path)
	if err != nil {
		return nil, fmt.Errorf("shared paths: %w", err)
	}
	defer root.Close()
	links, err := r.missingLinks(root, s)
	for i := range links {
		names = append(names, links[i].name)
	}
	return names, err
}

// missingLinks returns the links to make, and refuses those that must not be made.
func (r Release) missingLinks(root *os.Root, s Sharing) ([]sharedLink, error) {
	links := make([]sharedLink, 0, len(s.Paths))
	for _, name := range slices.Sorted(maps.Keys(s.Paths)) {
		l := sharedLink{root: root, release: r, name: path.Clean(name), target: s.Paths[name], how: s}
		if err := s.CheckTarget(name); err != nil {
			return nil, err
		}
		if err := l.look(); err != nil {
			return nil, err
		}
		if l.found != foundRight {
			links = append(links, l)
		}
	}
	return links, nil
}

// openRoot opens the directory of a release. It does not let a link of the app's user lead root to
// other users' files.
func openRoot(path string) (*os.Root, error) {
	dir, err := beneath.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Root()
}

// sharedLink is a path of a release that must become a link to its shared target.
type sharedLink struct {
	root    *os.Root
	release Release
	name    string // inside the release, with slashes
	target  string
	how     Sharing
	found   found // what is at the path now
}

// found is the kind of what exists at the path of a link.
type found int

const (
	foundNothing found = iota
	foundRight         // a link to the target
	foundOther         // a link to a place outside the release other than the target
	foundEmpty         // a directory that is empty, or contains only a placeholder for git
	foundContent       // the release's own content
)

func (f found) text() string {
	switch f {
	case foundOther:
		return " (instead of another link)"
	case foundContent:
		return " (instead of what the release brings)"
	case foundNothing, foundRight, foundEmpty:
	}
	return ""
}

// look finds out what exists at the path, and refuses what must not be done.
func (l *sharedLink) look() error {
	what, err := l.lookInside()
	if err != nil {
		return err
	}
	full := filepath.Join(l.release.Path, l.name)
	switch {
	case l.found == foundNothing || l.found == foundRight || l.how.Replace:
		return nil
	case l.how.InUse:
		return fmt.Errorf("shared.%s: %s is %s, and workers run from %s: "+
			"it becomes a link in the next release that is switched to", l.name, full, what, l.release.Name)
	case l.found == foundContent:
		return fmt.Errorf("shared.%s: release %s brings %s at %s, which the link to %s would hide: "+
			"remove it from the release (move what you need to %s, then rm -r %s), or remove %s from [shared]",
			l.name, l.release.Name, what, full, l.target, l.target, full, l.name)
	}
	return nil
}

// lookInside sets found, and returns a description of it.
func (l *sharedLink) lookInside() (what string, err error) {
	st, err := l.root.Lstat(l.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", l.parentIsInside()
	case err != nil:
		return "", l.failed(err)
	case st.Mode().Type() == fs.ModeSymlink:
		to, err := l.root.Readlink(l.name)
		if err != nil {
			return "", l.failed(err)
		}
		l.found = foundContent
		switch full := filepath.Join(l.release.Path, filepath.Dir(l.name), to); {
		case to == l.target || sameFile(filepath.Join(l.release.Path, l.name), l.target):
			l.found = foundRight
		case filepath.IsAbs(to) || !within(l.release.Path, full):
			l.found = foundOther
		}
		return "a link to " + to, nil
	case st.IsDir():
		entries, err := fs.ReadDir(l.root.FS(), l.name)
		if err != nil {
			return "", l.failed(err)
		}
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
			return keepsPlace(e.Name()) && e.Type().IsRegular()
		})
		if len(entries) == 0 {
			l.found = foundEmpty
			return "an empty directory", nil
		}
		l.found = foundContent
		return fmt.Sprintf("a directory with %s", entryNames(entries)), nil
	}
	l.found = foundContent
	return "a file", nil
}

// keepsPlace reports whether a file exists only to make git keep its directory.
func keepsPlace(name string) bool { return name == ".gitkeep" || name == ".keep" }

func entryNames(entries []fs.DirEntry) string {
	const most = 3
	var names []string
	for i, e := range entries {
		if i == most {
			return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), len(entries)-most)
		}
		names = append(names, e.Name())
	}
	return strings.Join(names, ", ")
}

// within reports whether a cleaned path is dir or below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// CheckTarget returns why the target of a shared path cannot be linked to.
func (s Sharing) CheckTarget(name string) error {
	target := s.Paths[name]
	_, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("shared.%s: %s does not exist: install -d%s %s", name, target, ownerFlags(s.Owner), target)
	case err != nil:
		return fmt.Errorf("shared.%s: %w", name, err)
	}
	return nil
}

func ownerFlags(owner string) string {
	user, group, _ := strings.Cut(owner, ":")
	flags := ""
	if user != "" {
		flags = " -o " + user
	}
	if group != "" {
		flags += " -g " + group
	}
	return flags
}

// parentIsInside checks that the parent directory of the link, as far as it exists, is inside the
// release.
func (l *sharedLink) parentIsInside() error {
	for dir := path.Dir(l.name); dir != "."; dir = path.Dir(dir) {
		st, err := l.root.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return l.failed(err)
		case !st.IsDir():
			return fmt.Errorf("shared.%s: %s is a file, not a directory", l.name, filepath.Join(l.release.Path, dir))
		}
		return nil
	}
	return nil
}

// failed returns the error of a path, for a permission error with the command to run.
func (l *sharedLink) failed(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		full, command := filepath.Join(l.release.Path, l.name), "ln -sfn"
		if l.found == foundEmpty || l.found == foundContent {
			command = "rm -r " + full + " && ln -s"
		}
		return fmt.Errorf("shared.%s: release %s cannot be changed by this user (%w). As its owner or root: %s %s %s",
			l.name, l.release.Name, err, command, l.target, full)
	}
	if pathErr := new(fs.PathError); errors.As(err, &pathErr) && strings.Contains(pathErr.Err.Error(), "escapes") {
		return fmt.Errorf("shared.%s: a link in release %s leads %s out of it; "+
			"shared paths must be in directories of the release itself", l.name, l.release.Name, l.name)
	}
	return fmt.Errorf("shared.%s: %w", l.name, err)
}

// make puts the link in place, atomically where the path is free or another link.
func (l *sharedLink) make() error {
	dir := path.Dir(l.name)
	undo, err := l.writable(dir)
	if err != nil {
		return l.failed(err)
	}
	err = l.root.MkdirAll(dir, 0o755)
	if err == nil {
		err = l.clear()
	}
	if err == nil {
		err = l.link(path.Join(dir, "."+path.Base(l.name)+".superctl"))
	}
	if err = errors.Join(err, undo()); err != nil {
		return l.failed(err)
	}
	return nil
}

// link creates the link under a temporary name and renames it.
func (l *sharedLink) link(temporary string) error {
	if err := l.root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return err
	}
	if err := l.root.Symlink(l.target, temporary); err != nil {
		return err
	}
	if err := l.root.Rename(temporary, l.name); err != nil {
		return errors.Join(err, l.root.Remove(temporary))
	}
	return nil
}

// clear removes what the link replaces, where a rename would fail.
func (l *sharedLink) clear() error {
	switch l.found {
	case foundEmpty:
		undo, err := l.writable(l.name)
		if err != nil {
			return err
		}
		for _, name := range []string{".gitkeep", ".keep"} {
			if err := l.root.Remove(path.Join(l.name, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return errors.Join(err, undo())
			}
		}
		return l.root.Remove(l.name) // not RemoveAll: a process may just have created a file in it
	case foundContent:
		return l.root.RemoveAll(l.name)
	case foundNothing, foundRight, foundOther:
	}
	return nil
}

// writable makes a directory of an installed release, which is read-only, writable for its owner
// until undo is called.
func (l *sharedLink) writable(dir string) (undo func() error, err error) {
	for dir != "." {
		if _, err := l.root.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = path.Dir(dir)
	}
	st, err := l.root.Stat(dir)
	if err != nil {
		return nil, err
	}
	if st.Mode()&0o200 != 0 {
		return func() error { return nil }, nil
	}
	if err := l.root.Chmod(dir, st.Mode().Perm()|0o200); err != nil {
		return nil, err
	}
	return func() error { return l.root.Chmod(dir, st.Mode().Perm()) }, nil
}
