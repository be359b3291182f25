package daemon

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"superctl/config"
	"superctl/releases"
	"superctl/servers"
)

// detours finds detours: paths by which a release would run code of another release. It looks in
// commands, options, the files that these name, variables, hooks and the virtualenv. The current
// link points to another release until the cutover, so a path through it is a detour too.
type detours struct {
	paths *releases.Paths
	dir   string // of the release
	seen  map[string]bool
	found []string
}

// FindDetours returns the detours of a release, each with its correction. r may be the zero value
// if there is no release yet.
func FindDetours(c *config.Config, r releases.Release) ([]string, error) {
	dir := cmp.Or(r.Path, filepath.Join(c.Releases, "RELEASE"))
	store := c.Store()
	paths, err := store.Paths(dir)
	if err != nil {
		return nil, err
	}
	d := &detours{paths: paths, dir: dir, seen: make(map[string]bool)}
	if err := d.places(c, r); err != nil {
		return nil, err
	}
	d.variables("the environment", environment(c, r, c.User, "", nil))
	for i := range c.Processes {
		p := &c.Processes[i]
		env := environment(c, r, cmp.Or(p.User, c.User), "", p.Env)
		where := "process." + p.Name
		d.command(where+".command", p.Command)
		d.variables(where, env)
		applied := completed(c, r, *p, env, bridgePath(c))
		for _, file := range applied.Files {
			d.file(where, file)
		}
		d.settings(where, applied.Expanded)
	}
	d.commands("hooks.before", c.Hooks.Before)
	d.commands("hooks.after", c.Hooks.After)
	d.commands("hooks.on_abort", c.Hooks.OnAbort)
	d.commands("hooks.on_revert", c.Hooks.OnRevert)
	for i := range c.Crons {
		d.command("cron."+c.Crons[i].Name+".command", c.Crons[i].Command)
	}
	if c.Virtualenv {
		d.virtualenv(r)
	}
	if r.Path != "" {
		d.links("release " + r.Name)
	}
	return d.found, nil
}

// staysInside returns an error if the release has detours.
func staysInside(c *config.Config, r releases.Release) error {
	if err := unreachable(r); err != nil {
		return err
	}
	found, err := FindDetours(c, r)
	if err != nil || len(found) == 0 {
		return err
	}
	return fmt.Errorf("%s: %s", c.Path, strings.Join(found, "; "))
}

// add records a detour.
func (d *detours) add(where, what string, t releases.Detour, instead string) {
	d.addOnce(where, where, what, t, instead)
}

// addOnce records a detour, once for each key: several processes may have the same file or variable.
func (d *detours) addOnce(key, where, what string, t releases.Detour, instead string) {
	leads := "leads into release " + t.Release
	switch {
	case t.Current != "":
		leads = fmt.Sprintf("leads through %s, which is another release until the cutover", t.Current)
	case t.Release == "":
		leads = "leads out of the release"
	}
	text := fmt.Sprintf("%s %s: %s", what, leads, instead)
	if key += ": " + text; !d.seen[key] {
		d.seen[key] = true
		d.found = append(d.found, where+": "+text)
	}
}

// commands checks the commands of a key.
func (d *detours) commands(where string, list [][]string) {
	for _, command := range list {
		d.command(where, command)
	}
}

// command checks the words of a command, and the scripts and configs that they name.
func (d *detours) command(where string, words []string) {
	for i, word := range words {
		if t, ok := d.word(word); ok {
			what := word
			if i > 0 && strings.HasPrefix(words[i-1], "-") && !strings.Contains(words[i-1], "=") {
				what = words[i-1] + " " + word
			}
			d.add(where, what, t, d.instead(words, i, t))
		}
		for _, name := range []string{word, after(word, "=")} {
			switch path := d.absolute(name); {
			case readsAsConfig(path):
				d.file(where, path)
			case strings.HasSuffix(path, ".py"):
				d.module(where, path)
			}
		}
		d.module(where, d.imported(word))
	}
}

// word finds a detour in a word: an absolute path, a path with .., or a path through a link.
func (d *detours) word(word string) (releases.Detour, bool) {
	if t, ok := d.paths.InText(word, d.dir); ok {
		return t, true
	}
	if strings.Contains(word, "://") {
		return releases.Detour{}, false
	}
	for _, name := range []string{word, after(word, "=")} {
		if t, ok := d.paths.Find(name, d.dir); ok && !strings.HasPrefix(name, "-") {
			return t, true
		}
	}
	return releases.Detour{}, false
}

// settings checks the options with placeholders of the server. It shows them as they were written: a
// variable in them may be secret.
func (d *detours) settings(where string, list []servers.Setting) {
	for _, s := range list {
		t, ok := d.word(s.Value)
		if !ok {
			continue
		}
		what := strings.TrimSpace(s.From + " " + s.Written)
		d.add(where, what, t, d.instead([]string{s.Option, s.Value}, 1, t))
	}
}

func after(text, sep string) string { _, rest, _ := strings.Cut(text, sep); return rest }

func (d *detours) absolute(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.dir, name)
}

// directoryOptions are the options for a working directory or an import path. They are not needed:
// a process starts in the directory of its release.
var directoryOptions = []string{ //nolint:gochecknoglobals // a table
	"--chdir", "--pythonpath", "--python-path", "--pp", "--app-dir", "--workdir", "--working-dir", "--dir",
	"-C", "--directory", "--cwd",
}

// instead returns the correction of a word.
func (d *detours) instead(words []string, i int, t releases.Detour) string {
	option, _, _ := strings.Cut(words[i], "=")
	if i > 0 && !strings.HasPrefix(option, "-") {
		option = words[i-1]
	}
	if t.Rest == "" && slices.Contains(directoryOptions, option) {
		return fmt.Sprintf("remove %s: a process starts in its release's directory", option)
	}
	return insteadOf(t)
}

// variables checks the values of variables. It never shows a value, because it may be secret.
func (d *detours) variables(where string, env Environ) {
	for _, v := range env {
		t, ok := d.paths.InText(v.Value, d.dir)
		switch {
		case !ok || v.Credential != "":
		case v.From == fromSuperctl:
			d.add(where, "the virtualenv "+filepath.Join(d.dir, "venv"), t, "create one in the release itself")
		case t.Rest == "":
			d.addOnce("", where, fmt.Sprintf("the variable %s (%s)", v.Name, v.From), t,
				"remove it: a process starts in its release's directory and imports from there")
		default:
			d.addOnce("", where, fmt.Sprintf("the variable %s (%s)", v.Name, v.From), t,
				"write it relative to the release's directory, where a process starts")
		}
	}
}

// configEndings are the endings of config files and scripts. Modules of the app are not checked: a
// path in them may be data.
var configEndings = []string{ //nolint:gochecknoglobals // a table
	".ini", ".cfg", ".conf", ".toml", ".yaml", ".yml", ".json", ".xml", ".env", ".sh", ".bash", ".rb",
	"conf.py", "config.py",
}

// readsAsConfig reports whether a file is a config, by its name, or a shell script.
func readsAsConfig(path string) bool {
	if path == "" {
		return false
	}
	if slices.ContainsFunc(configEndings, func(ending string) bool { return strings.HasSuffix(path, ending) }) {
		return true
	}
	text, err := servers.ReadConfig(path)
	first, _, _ := strings.Cut(text, "\n")
	return err == nil && strings.HasPrefix(first, "#!") && strings.HasSuffix(strings.TrimSpace(first), "sh")
}

// file checks the lines of a file, except comments.
func (d *detours) file(where, path string) {
	text, err := servers.ReadConfig(path)
	if err != nil {
		return // the program that needs the file reports the error
	}
	d.lines(where, path, text, d.dir)
}

func (d *detours) lines(where, path, text, dir string) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		comment := line == "" || strings.ContainsRune("#;", rune(line[0])) || strings.HasPrefix(line, "//")
		if comment || dir != d.dir && strings.HasPrefix(line, "command = ") {
			continue // a comment, or the command in pyvenv.cfg that created the virtualenv
		}
		if t, ok := d.paths.InText(line, dir); ok {
			d.addOnce("", where, fmt.Sprintf("%s:%d", d.short(path), n), t, insteadOf(t))
		}
	}
}

// short returns a path relative to the release.
func (d *detours) short(path string) string {
	if rel, err := filepath.Rel(d.dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// virtualenv checks the files by which a virtualenv imports from other directories, such as an
// editable install of another release.
func (d *detours) virtualenv(r releases.Release) {
	venv := r.Virtualenv()
	if venv == "" {
		return
	}
	if text, err := servers.ReadConfig(filepath.Join(venv, "pyvenv.cfg")); err == nil {
		d.lines("release "+r.Name, filepath.Join(venv, "pyvenv.cfg"), text, venv)
	}
	for _, pattern := range []string{"*.pth", "*.egg-link", "__editable__*.py"} {
		files, _ := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages", pattern)) // the pattern is valid
		for _, file := range files {
			text, err := servers.ReadConfig(file)
			if err != nil {
				continue
			}
			if t, ok := d.paths.InText(text, filepath.Dir(file)); ok {
				d.add("release "+r.Name, d.short(file), t,
					"install the project into the release's virtualenv without -e, or from the release itself")
			}
		}
	}
}
