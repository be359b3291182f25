package daemon

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"superctl/releases"
	"superctl/servers"
)

// changesImports reports whether a line of Python changes where modules are found. Other paths in
// the modules of an app may be data.
func changesImports(line string) bool {
	for _, word := range []string{"sys.path", "addsitedir", "chdir(", "activate_this", "PYTHONPATH", "VIRTUAL_ENV"} {
		if strings.Contains(line, word) {
			return !strings.HasPrefix(line, "#")
		}
	}
	return false
}

// module checks the statements of a Python file that change where modules are found, such as
// sys.path.append("/srv/shop/current") in wsgi.py.
func (d *detours) module(where, path string) {
	text, err := servers.ReadConfig(path)
	if path == "" || err != nil {
		return // the program that needs the file reports the error
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); !changesImports(line) {
			continue
		}
		if t, ok := d.paths.InText(line, d.dir); ok {
			d.addOnce("", where, fmt.Sprintf("%s:%d", d.short(path), n), t,
				"remove the line: a process starts in its release's directory and imports from there")
		}
	}
}

// imported returns the file of the module that a word of a command names, such as shop.wsgi:app. It
// returns "" if there is none in the release.
func (d *detours) imported(word string) string {
	name, _, _ := strings.Cut(cmp.Or(after(word, "="), word), ":")
	if name == "" || strings.ContainsAny(name, "/- ") {
		return ""
	}
	path := filepath.Join(d.dir, strings.ReplaceAll(name, ".", "/"))
	for _, file := range []string{path + ".py", filepath.Join(path, "__init__.py")} {
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// mostEntries is the number of files of a release that are looked through for links.
const mostEntries = 200_000

// links checks the symbolic links in a release. A link into another release, or through current,
// would make the release run that one's code.
func (d *detours) links(where string) {
	n := 0
	_ = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if n++; n > mostEntries {
			return filepath.SkipAll
		}
		if err != nil || e.Type() != fs.ModeSymlink {
			return nil //nolint:nilerr // what cannot be read is reported by the check of the release
		}
		if t, ok := d.paths.Find(path, d.dir); ok {
			d.add(where, "the link "+d.short(path), t, "copy the file into the release, or put it into [shared]")
		}
		return nil
	})
}

// unreachable returns why a release is not there, such as a link that leads nowhere.
func unreachable(r releases.Release) error {
	if _, err := os.Stat(r.Path); err != nil && r.Broken != nil {
		return fmt.Errorf("release %s is broken: %w", r.Name, r.Broken)
	}
	return nil
}
