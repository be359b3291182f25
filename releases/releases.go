// Package releases owns the release directories: it finds them, reads their metadata, checks
// whether they can be switched to, and maintains the `current` link and the history.
//
// It never changes a release, except for the links of Share. It starts no process: a caller that
// wants the interpreter to be tested passes a function that runs it.
package releases

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/xrash/smetrics"

	"superctl/beneath"
)

// Store is a directory of releases and the link to the live one.
type Store struct {
	Dir     string
	Current string // path of the `current` link; "" = none is kept
	Order   string // path of the record of the order of releases; "" = none

	pause func(time.Duration) // pause between two checks for a copy in progress; nil = sleep
}

// Release is one release directory.
type Release struct {
	Name string
	Path string // real path, symlinks resolved
	Metadata
	Broken     error // why it cannot be switched to; nil = no known reason
	Unfinished error // why it seems to be incomplete

	Skipped []string // the newer releases that `latest` has skipped for this one, with the reasons
}

// Open opens the directory of releases.
func Open(dir, current string) (*Store, error) {
	s := &Store{Dir: dir, Current: current}
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the directory of releases %s does not exist: "+
			"make it, and put each release into its own directory there", dir)
	case err != nil:
		return nil, fmt.Errorf("the directory of releases: %w", err)
	case !st.IsDir():
		return nil, fmt.Errorf("the directory of releases %s is a file", dir)
	}
	if _, err := s.entries(); err != nil {
		return nil, err
	}
	return s, nil
}

// lostAndFound is the directory that fsck keeps at the top of a file system.
const lostAndFound = "lost+found"

func (s *Store) entries() ([]os.DirEntry, error) {
	all, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("the directory of releases %s cannot be read: "+
			"the daemon's user needs r and x on it", s.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the directory of releases: %w", err)
	}
	return slices.DeleteFunc(all, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ".") || e.Name() == lostAndFound || (!e.IsDir() && e.Type() != fs.ModeSymlink)
	}), nil
}

// List returns all releases, newest first, including the broken ones with the reason. A link to a
// release is not one of them.
func (s *Store) List() ([]Release, error) {
	all, err := s.listWithLinks()
	return slices.DeleteFunc(all, func(r Release) bool { return s.alias(r.Name) != "" }), err
}

// listWithLinks returns what List does, and the links to releases.
func (s *Store) listWithLinks() ([]Release, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	var list []Release
	seen := s.readOrder()
	for _, e := range entries {
		path := filepath.Join(s.Dir, e.Name())
		if st, err := os.Stat(path); err == nil && !st.IsDir() {
			continue // a link to a file
		}
		if s.isCurrent(path) {
			continue // some sites keep the link among the releases
		}
		r := s.read(path, seen)
		if r.Broken == nil {
			r.Broken = r.unusableName()
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Release) int {
		return cmp.Or(b.Installed.Compare(a.Installed), strings.Compare(b.Name, a.Name))
	})
	return list, nil
}

func (s *Store) isCurrent(path string) bool {
	return s.Current != "" && filepath.Clean(s.Current) == path
}

// open opens the directory of a release. A link of the app's user may lead to any release of the
// store, and otherwise only to the same user's files: root must not take another app's directory
// for a release of this one.
func (s *Store) open(path string) (*beneath.Dir, error) {
	dir, err := beneath.Open(path)
	if !errors.Is(err, beneath.ErrForeign) {
		return dir, err
	}
	target, errTarget := filepath.EvalSymlinks(path)
	store, errStore := filepath.EvalSymlinks(s.Dir)
	if errTarget != nil || errStore != nil || filepath.Dir(target) != store {
		return nil, err
	}
	return beneath.Open(target)
}

// read reads one release.
func (s *Store) read(path string, seen order) Release {
	r := Release{Name: filepath.Base(path), Path: path}
	dir, err := s.open(path)
	if err == nil {
		defer dir.Close()
		r.Path, err = dir.RealPath()
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.Broken = fmt.Errorf("its directory cannot be read: the daemon's user needs r and x on %s", path)
		return r
	case err != nil && s.dangles(path):
		r.Broken = errors.New(s.linkText(r))
		return r
	case err != nil:
		r.Broken = fmt.Errorf("it cannot be reached: %w", err)
		return r
	}
	target := r.Path
	r.Installed = seen.see(r.Name, target).At
	inside, err := dir.ReadDir()
	switch {
	case err != nil:
		r.Broken = err
		return r
	case len(inside) == 0:
		r.Broken = errors.New("its directory is empty")
	}
	sure, why := s.unfinished(target)
	if r.Unfinished = why; sure {
		r.Broken = why
	}
	if err := r.describe(); err != nil && r.Broken == nil {
		r.Broken = err
	}
	return r
}

// Refs are the releases that the words live and previous stand for.
type Refs struct{ Live, Previous string }

// Resolve returns the release that a word means: an exact name, "latest", "live", "previous", a
// unique prefix of a name, or at least four digits of a commit.
func (s *Store) Resolve(word string, refs Refs) (Release, error) {
	list, err := s.List()
	if err != nil {
		return Release{}, err
	}
	if len(list) == 0 {
		return Release{}, fmt.Errorf("there is no release in %s yet: put one into its own directory there", s.Dir)
	}
	if r, ok := s.named(list, word); ok {
		return r, nil
	}
	switch word {
	case "latest":
		return s.latest(list, refs)
	case "live", "current":
		if r, ok := s.named(list, refs.Live); ok {
			return r, nil
		}
		return Release{}, errors.New("no release is live")
	case "previous":
		if r, ok := s.named(list, refs.Previous); ok {
			return r, nil
		}
		return Release{}, errors.New("there is no previous release")
	}
	return byPrefix(list, word)
}

func byName(list []Release, name string) (Release, bool) {
	i := slices.IndexFunc(list, func(r Release) bool { return r.Name == name })
	if i < 0 {
		return Release{}, false
	}
	return list[i], true
}

// byPrefix returns the only release whose name or commit begins with word.
func byPrefix(list []Release, word string) (Release, error) {
	var hits []Release
	for _, r := range list {
		byCommit := len(word) >= 4 && r.Commit != "" && strings.HasPrefix(r.Commit, strings.ToLower(word))
		if byCommit || strings.HasPrefix(r.Name, word) {
			hits = append(hits, r)
		}
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		if near := nearest(word, list); near != "" {
			return Release{}, fmt.Errorf("no release matches %q; did you mean %s? (superctl releases lists all)", word, near)
		}
		return Release{}, fmt.Errorf("no release matches %q (superctl releases lists all)", word)
	default:
		return Release{}, fmt.Errorf("%q is ambiguous: it could be %s", word, names(hits, 5))
	}
}

func names(list []Release, most int) string {
	var out []string
	for _, r := range list[:min(most, len(list))] {
		out = append(out, r.Name)
	}
	text := strings.Join(out, ", ")
	if len(list) > most {
		text += fmt.Sprintf(" and %d more", len(list)-most)
	}
	return text
}

// alike is the similarity from which on a word may be a mistyped name.
const alike = 0.85

// nearest returns the names, and the words for a release, that a mistyped word may mean, the most
// similar first, and at most three (Jaro-Winkler similarity, which favours a common beginning).
func nearest(word string, list []Release) string {
	likeness := func(name string) float64 {
		return smetrics.JaroWinkler(strings.ToLower(word), strings.ToLower(name), 0.7, 4)
	}
	var near []string
	for _, name := range append(allNames(list), "latest", "previous", "current") {
		if likeness(name) >= alike {
			near = append(near, name)
		}
	}
	slices.SortStableFunc(near, func(a, b string) int { return cmp.Compare(likeness(b), likeness(a)) })
	return strings.Join(near[:min(len(near), 3)], " or ")
}

func allNames(list []Release) (names []string) {
	for _, r := range list {
		names = append(names, r.Name)
	}
	return names
}

// Get reads the release at exactly that path.
func (s *Store) Get(path string) (Release, error) {
	if err := Gone(path); err != nil {
		return Release{}, err
	}
	if _, err := os.Stat(path); err != nil {
		return Release{}, fmt.Errorf("release %s: %w", filepath.Base(path), err)
	}
	return s.read(path, s.readOrder()), nil
}

// Gone returns an error if the directory of a release was removed.
func Gone(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release %s no longer exists: %s was removed; "+
			"install it again, or switch to another one (superctl releases lists them)", filepath.Base(path), path)
	}
	return nil
}

// CurrentTarget returns the release that the `current` link points to. Without a link the error is
// fs.ErrNotExist.
func (s *Store) CurrentTarget() (Release, error) {
	if s.Current == "" {
		return Release{}, fs.ErrNotExist
	}
	st, err := os.Lstat(s.Current)
	if err != nil {
		return Release{}, err
	}
	if st.Mode().Type() != fs.ModeSymlink {
		return Release{}, notALink(s.Current)
	}
	path, err := filepath.EvalSymlinks(s.Current)
	if err != nil {
		return Release{}, fmt.Errorf("the link %s leads nowhere: %w", s.Current, err)
	}
	if !s.has(path) { // as in a copy of a whole site
		return Release{}, fmt.Errorf("the link %s leads to %s, which is no release in %s: superctl switch RELEASE makes one live and "+
			"changes the link", s.Current, path, s.Dir)
	}
	return s.read(path, s.readOrder()), nil
}

// has reports whether a real path is that of a release. An unreadable store may have it.
func (s *Store) has(path string) bool {
	entries, err := s.entries()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		at := filepath.Join(s.Dir, e.Name())
		target, err := filepath.EvalSymlinks(at)
		return err == nil && target == path && !s.isCurrent(at)
	})
}

func notALink(path string) error {
	return fmt.Errorf("%s is not a symbolic link: move it away, or set `current` to another path", path)
}
