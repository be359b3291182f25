package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"superctl/plain"
)

// pathEnds are the characters that end a path in commands, variables and shebangs: superctl and the
// programs of a virtualenv would find another path there than that of the release.
const pathEnds = " \t\"'=:,;()[]{}<>|&`$*?\\"

// isWord reports whether a name is a word for a release, or for none.
func isWord(name string) bool {
	return slices.Contains([]string{"latest", "live", "current", "previous", "none"}, name)
}

// unusableName returns why a release of that name cannot be switched to, or nil. A release that runs
// already is not asked for its name.
func (r Release) unusableName() error {
	const instead = "rename the directory: use letters, digits and . _ + - ~ @"
	if isWord(r.Name) {
		return errors.New("its name is also the word for another release, as in superctl switch latest: rename the directory")
	}
	if !plain.IsLine(r.Name) || strings.ContainsRune(r.Name, '\t') {
		return fmt.Errorf("its name has characters that cannot be shown, %q: %s", r.Name, instead)
	}
	if i := strings.IndexAny(r.Name, pathEnds); i >= 0 && r.Virtualenv() != "" {
		return fmt.Errorf("its name has a %q, at which a path in a command or a variable ends: %s, "+
			"and create its virtualenv again", r.Name[i], instead)
	}
	return nil
}

// alias returns the name of the release that a link among the releases leads to, or "". Such a link,
// like stable -> r42, is another name for that release: it has no code and no age of its own.
func (s *Store) alias(name string) string {
	path := filepath.Join(s.Dir, name)
	if st, err := os.Lstat(path); err != nil || st.Mode().Type() != fs.ModeSymlink {
		return ""
	}
	target, errTarget := filepath.EvalSymlinks(path)
	store, errStore := filepath.EvalSymlinks(s.Dir)
	if errTarget != nil || errStore != nil || filepath.Dir(target) != store {
		return ""
	}
	return filepath.Base(target)
}

// dangles reports whether a path is a link that leads nowhere.
func (s *Store) dangles(path string) bool {
	link, err := os.Lstat(path)
	_, errTarget := os.Stat(path)
	return err == nil && link.Mode().Type() == fs.ModeSymlink && errors.Is(errTarget, fs.ErrNotExist)
}

// linkText describes a link in the place of a release.
func (s *Store) linkText(r Release) string {
	path := filepath.Join(s.Dir, r.Name)
	if r.Path != path {
		return fmt.Sprintf("it is a link to %s, not a directory", plain.Name(r.Path))
	}
	target, err := os.Readlink(path)
	if err != nil {
		return "it is a link, not a directory"
	}
	return fmt.Sprintf("it is a link to %s, which cannot be reached", plain.Name(target))
}

// named returns the release of a list that has a name, or that a link of this name leads to.
func (s *Store) named(list []Release, name string) (Release, bool) {
	if r, ok := byName(list, name); ok || name == "" || isWord(name) || strings.ContainsRune(name, filepath.Separator) {
		return r, ok
	}
	return byName(list, s.alias(name))
}
