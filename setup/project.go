package setup

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Project is what the files of a project say.
type Project struct {
	Dir       string // absolute
	Framework string // "Django", "Flask", "FastAPI", ...; "" = unknown
	Root      string // directory from which its modules are imported, relative to Dir; "." = Dir
	Manage    string // path of manage.py, relative to Dir
	Settings  string // DJANGO_SETTINGS_MODULE
	SetBy     bool   // manage.py has other settings than the WSGI module
	WSGI      string // module:attribute
	ASGI      string
	Factory   bool   // the attribute is a function that makes the app
	Celery    string // module for celery --app
	Beat      bool
	Health    []string // URL paths that may be health checks, likeliest first
	Env       bool     // it has a file .env
	Venv      string   // its virtualenv, relative to Dir; "" = none
	Python    Python   // of the virtualenv
	Links     []Link   // symbolic links in it

	Packages map[string]string // name -> version, "" = unknown
	Facts    []Fact
}

// Python is the interpreter that a virtualenv was made with.
type Python struct {
	Version string // such as "3.13"; "" = unknown
	Bin     string // its directory; "" = unknown
}

// Link is a symbolic link in a project.
type Link struct{ Path, Target string }

// has reports whether a package is among the dependencies.
func (p *Project) has(name string) bool { _, ok := p.Packages[name]; return ok }

// Limits of what is read of a project.
const (
	maxFiles    = 4000
	maxDepth    = 4
	maxFileSize = 1 << 20
)

// Inspect reads a project. fsys is its directory, dir the path of it. It fails only if the
// directory cannot be read.
func Inspect(fsys fs.FS, dir string) (*Project, error) {
	p := &Project{Dir: dir, Root: ".", Packages: map[string]string{}}
	r := reader{fsys: fsys}
	if err := r.walk(); err != nil {
		return nil, err
	}
	p.Venv, p.Links = r.venv, r.links
	p.Env = slices.Contains(r.files, ".env")
	if r.venv != "" {
		p.Python = pythonOf(r.text(r.venv + "/pyvenv.cfg"))
	}
	p.dependencies(&r)
	p.django(&r)
	p.apps(&r)
	p.celery(&r)
	p.health(&r)
	return p, nil
}

// reader reads the files of a project.
type reader struct {
	fsys  fs.FS
	files []string // relative paths, sorted by depth, then by name
	links []Link
	venv  string
	cache map[string]string
}

// skipped are directories without the project's own code.
func skipped(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{
		"node_modules", "__pycache__", "site-packages", "tests", "test", "docs", "migrations", "static", "media",
		"examples", "build", "dist", "env",
	}, name)
}

func (r *reader) walk() error {
	r.cache = map[string]string{}
	err := fs.WalkDir(r.fsys, ".", func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && at == ".":
			return err
		case err != nil:
			return fs.SkipDir
		case d.IsDir() && at != ".":
			return r.enter(at)
		case d.Type() == fs.ModeSymlink:
			if to, err := fs.ReadLink(r.fsys, at); err == nil {
				r.links = append(r.links, Link{at, to})
			}
		case d.Type().IsRegular():
			r.files = append(r.files, at)
			if len(r.files) >= maxFiles {
				return fs.SkipAll
			}
		}
		return nil
	})
	slices.SortStableFunc(r.files, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") })
	return err
}

// enter notes a virtualenv. It returns fs.SkipDir for a directory without the project's own code.
func (r *reader) enter(dir string) error {
	if _, err := fs.Stat(r.fsys, dir+"/pyvenv.cfg"); err == nil {
		if r.venv == "" && (dir == "venv" || dir == ".venv") {
			r.venv = dir
		}
		return fs.SkipDir
	}
	if skipped(path.Base(dir)) || strings.Count(dir, "/") >= maxDepth {
		return fs.SkipDir
	}
	return nil
}

// text returns the text of a file, or "" if it cannot be read.
func (r *reader) text(name string) string {
	if text, done := r.cache[name]; done {
		return text
	}
	text, err := r.read(name)
	if err != nil {
		text = ""
	}
	r.cache[name] = text
	return text
}

func (r *reader) read(name string) (string, error) {
	st, err := fs.Lstat(r.fsys, name)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFileSize {
		return "", errors.New("not a small regular file")
	}
	data, err := fs.ReadFile(r.fsys, name)
	return string(data), err
}

// pythonOf reads pyvenv.cfg, as venv, virtualenv and uv write it.
func pythonOf(text string) (p Python) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "home":
			if path.IsAbs(value) {
				p.Bin = value
			}
		case "version", "version_info":
			if parts := strings.Split(value, "."); len(parts) > 1 {
				p.Version = parts[0] + "." + parts[1]
			}
		}
	}
	return p
}

// python returns the Python files, likeliest to have the app first.
func (r *reader) python() []string {
	var list []string
	for _, f := range r.files {
		if strings.HasSuffix(f, ".py") && path.Base(f) != "setup.py" && path.Base(f) != "conftest.py" {
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return rank(a) - rank(b) })
	return list
}

// rank returns how unlikely it is that a file has the project's app.
func rank(file string) int {
	names := []string{"wsgi", "asgi", "app", "main", "application", "server", "__init__"}
	i := slices.Index(names, strings.TrimSuffix(path.Base(file), ".py"))
	if i < 0 {
		i = len(names)
	}
	return i + 3*strings.Count(file, "/")
}

// module returns the module of a file, as imported from the directory root.
func module(root, file string) string {
	if root != "." {
		file = strings.TrimPrefix(file, root+"/")
	}
	file = strings.TrimSuffix(strings.TrimSuffix(file, ".py"), "/__init__")
	return strings.ReplaceAll(file, "/", ".")
}

func (p *Project) fact(name, value, source string) {
	p.Facts = append(p.Facts, Fact{Name: name, Value: value, Source: source})
}

func (p *Project) guess(name, value, source string) {
	p.Facts = append(p.Facts, Fact{Name: name, Value: value, Source: source, Guess: true})
}
