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

// Sharing is how the shared paths of an app are linked into a release.
type Sharing struct {
	// Paths are paths inside the release, each with the path outside that it leads to.
	Paths map[string]string
	// InUse says that workers run from the release: what is missing is made, and nothing is taken away from them.
	InUse bool
	// Replace says that the release is a copy which is being made: whatever it brings in the place of a shared path is removed.
	Replace bool
	// Owner is "USER" or "USER:GROUP" of the app, for the messages that say what to do.
	Owner string
}

// Share links what outlives a release into it. It says what it has made, one line each. What is there already and right is left as it is;
// when any of the paths cannot be linked, the error says why and none has been.
//
// It never leaves the release's directory, whatever links there are inside.
func (r Release) Share(s Sharing) (made []string, err error) {
	root, err := openRoot(r.Path)
	if err != nil {
		return nil, fmt.Errorf("shared paths: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written to it
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

// Unshared returns the shared paths that Share would link, and changes nothing. The error is what Share would refuse.
func (r Release) Unshared(s Sharing) (names []string, err error) {
	root, err := os.OpenRoot(r.Path)
	if err != nil {
		return nil, fmt.Errorf("shared paths: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written to it
	links, err := r.missingLinks(root, s)
	for i := range links {
		names = append(names, links[i].name)
	}
	return names, err
}

// missingLinks looks which links are to be made, and refuses what must not be done.
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

// openRoot opens the directory of a release; a link of the app's user in its place leads root to nothing of others.
func openRoot(path string) (*os.Root, error) {
	dir, err := beneath.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // the root has a descriptor of its own
	return dir.Root()
}

// sharedLink is one path of a release that is to be a link to what outlives it.
type sharedLink struct {
	root    *os.Root
	release Release
	name    string // inside the release, with slashes
	target  string
	how     Sharing
	found   found
}

// found is what is in the place of a link.
type found int

const (
	foundNothing found = iota
	foundRight         // a link to the target
	foundOther         // a link that leads out of the release, elsewhere
	foundEmpty         // an empty directory, or one that only keeps its place in git
	foundContent
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

// look finds out what is there, and refuses what must not be done.
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
		return fmt.Errorf("shared.%s: %s is %s, and workers run from %s: it becomes a link in the next release that is switched to", l.name, full, what, l.release.Name)
	case l.found == foundContent:
		return fmt.Errorf("shared.%s: release %s brings %s at %s, which the link to %s would hide: take it out of the release "+
			"(move what is to be kept to %s, then rm -r %s), or take %s out of [shared]", l.name, l.release.Name, what, full, l.target, l.target, full, l.name)
	}
	return nil
}

// lookInside sets found, and says it in words.
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
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return keepsPlace(e.Name()) && e.Type().IsRegular() })
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

// keepsPlace tells whether a file is there only so that git keeps its directory.
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

// within tells whether a cleaned path is dir or below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// CheckTarget says why nothing can be linked to what a path inside a release is to lead to.
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

// parentIsInside looks whether the directory of the link, as far as it is there, is a directory of the release.
func (l *sharedLink) parentIsInside() error {
	for dir := path.Dir(l.name); dir != "."; dir = path.Dir(dir) {
		st, err := l.root.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return l.failed(err)
		case !st.IsDir():
			return fmt.Errorf("shared.%s: %s is a file, so that nothing can be below it", l.name, filepath.Join(l.release.Path, dir))
		}
		return nil
	}
	return nil
}

// failed says why a path cannot be looked at or made.
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
		return fmt.Errorf("shared.%s: a link in release %s leads %s out of it; only directories of the release itself can have shared paths", l.name, l.release.Name, l.name)
	}
	return fmt.Errorf("shared.%s: %w", l.name, err)
}

// make puts the link into its place: at once where nothing is there, or another link.
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

// link makes the link under another name and renames it.
func (l *sharedLink) link(temporary string) error {
	if err := l.root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) { // a crash has left it
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

// clear removes what the link is to take the place of, where a rename would not.
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
		return l.root.Remove(l.name) // not with all that is in it: somebody may just have put something there
	case foundContent:
		return l.root.RemoveAll(l.name)
	case foundNothing, foundRight, foundOther:
	}
	return nil
}

// writable lets the owner of an installed release, whose directories are read-only, write into one for a moment.
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
