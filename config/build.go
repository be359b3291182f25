package config

import (
	"maps"
	"path"
	"path/filepath"
	"slices"

	"superctl/releases"
	"superctl/releases/bundle"
)

type buildTable struct {
	Name    string            `toml:"name"`
	Version string            `toml:"version"`
	Files   []string          `toml:"files"`
	Lock    string            `toml:"lock"`
	Extras  []string          `toml:"extras"`
	Groups  []string          `toml:"groups"`
	Python  string            `toml:"python"`
	Package *bool             `toml:"package"`
	Run     any               `toml:"run"`
	Output  []string          `toml:"output"`
	Smoke   any               `toml:"smoke"`
	Env     map[string]string `toml:"env"`
}

// Build is [build]: how a bundle is built from the project in the file's directory.
type Build struct {
	Name, Version string // "" = detected
	Files         []string
	Lock          string
	Extras        []string
	Groups        []string
	Python        string
	Package       *bool
	Run           [][]string
	Output        []string
	Smoke         [][]string
	Env           map[string]string
	Processes     []string // names of [process.NAME], in the order of the file
}

// LoadBuild reads the parts of a config that a build needs. The other parts may be missing: they
// describe a server.
func LoadBuild(path string) (*Build, error) {
	_, data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parseBuild(path, data)
}

func parseBuild(path string, data []byte) (*Build, error) {
	l := &loader{values: values{problems{file: path}}, c: new(Config)}
	l.read(data)
	l.decode(data, &l.f)
	if len(l.list) > 0 {
		return nil, l.err()
	}
	b := l.build()
	if b.Name == "" {
		b.Name = l.f.App
	}
	b.Processes = l.inOrder(slices.Collect(maps.Keys(l.f.Process)))
	for _, name := range b.Processes {
		if !isItemName(name) {
			l.at("process."+name, "process %q: use letters, digits, - and _, at most 32", name)
		}
	}
	l.empties()
	if len(l.list) > 0 {
		return nil, l.err()
	}
	return b, nil
}

// build parses [build].
func (l *loader) build() *Build {
	t := &l.f.Build
	b := &Build{
		Name: t.Name, Version: t.Version, Lock: t.Lock, Extras: t.Extras, Groups: t.Groups,
		Python: t.Python, Package: t.Package, Env: t.Env,
	}
	for what, text := range map[string]string{"name": t.Name, "version": t.Version} {
		if text == "" {
			continue
		}
		if err := bundle.CheckName(what, text); err != nil {
			l.at("build."+what, "%v", err)
		}
	}
	if t.Lock != "" && !inside(t.Lock) {
		l.at("build.lock", "lock %q: it is a file of the project, such as \"requirements/production.txt\"", t.Lock)
	}
	l.itemNames("build.extras", t.Extras)
	l.itemNames("build.groups", t.Groups)
	b.Files = l.insides("build.files", t.Files)
	b.Output = l.insides("build.output", t.Output)
	b.Run = l.commands("build.run", t.Run)
	b.Smoke = l.commands("build.smoke", t.Smoke)
	if len(b.Output) > 0 && len(b.Run) == 0 {
		l.at("build.output",
			"output: there is no command that would make it: write run = [\"python manage.py collectstatic "+
				"--noinput\"]")
	}
	l.buildEnv(t.Env)
	return b
}

// itemNames checks names of a project, such as those of its extras.
func (l *loader) itemNames(key string, names []string) {
	for _, name := range names {
		if !isItemName(name) {
			l.at(key, "%s: %q is not a valid name", last(key), name)
		}
	}
}

// buildEnv checks the names of the variables of a build.
func (l *loader) buildEnv(env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if why := releases.Reserved(name); why != "" {
			l.at("build.env."+name, "%s: %s", name, why)
		} else {
			l.variable("build.env."+name, name)
		}
	}
}

// insides parses a list of paths in the project.
func (l *loader) insides(key string, list []string) []string {
	for i, p := range list {
		switch {
		case !inside(p):
			l.at(key, "%s: %q: write a path in the project, without / at its beginning", last(key), p)
		case slices.Contains(list[:i], p):
			l.at(key, "%s: %q is in the list twice", last(key), p)
		}
	}
	return list
}

func inside(p string) bool { return filepath.IsLocal(p) && path.Clean(p) != "." }
