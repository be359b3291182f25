package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"superctl/plain"
	"superctl/releases/bundle"
)

// lockReader reads which packages a release has.
type lockReader struct{ *builder }

func (b *builder) locks() lockReader { return lockReader{b} }

// The kinds of locks, in the order in which they are looked for.
const (
	uvLock      = "uv.lock"
	pylockTOML  = "pylock.toml"
	requireText = "requirements.txt"
)

// lock is the lock file of the project, and its requirements for this interpreter.
type lock struct {
	name, kind   string
	sum          string
	requirements string // path of the same as a requirements file
	list         []requirement
	index        []string // where uv has found them, other than PyPI
}

// requirement is one dependency of a lock, in the form of a requirements file.
type requirement struct {
	Line    string   `json:"line"`
	Hashes  []string `json:"hashes"`
	Hashed  bool     `json:"hashed"` // by those, or in its URL
	Where   string   `json:"where"`  // in which file, and which line
	Path    string   `json:"path"`   // of a directory, such as another package of the project
	Applies bool     `json:"applies"`
}

// complete reports whether the lock names every dependency with a hash, so that the same lock
// always means the same wheels.
func (l *lock) complete() bool {
	return l.kind != requireText || !slices.ContainsFunc(l.list, func(r requirement) bool {
		return r.Applies &&
			r.Path == "" && !r.Hashed
	})
}

// read finds and reads the lock.
func (lr lockReader) read(ctx context.Context) (string, error) {
	if err := lr.find(); err != nil {
		return "", err
	}
	l := &lr.lock
	var err error
	if _, l.sum, err = bundle.Sum(filepath.Join(lr.stage, l.name)); err != nil {
		return "", err
	}
	q := question{Requirements: l.name}
	switch l.kind {
	case uvLock:
		q.Requirements = filepath.Join(lr.temp, "exported.txt")
		err = lr.exportUV(ctx, q.Requirements)
	case pylockTOML:
		q.Pylock, q.Requirements = l.name, filepath.Join(lr.temp, "converted.txt")
		q.Extras, q.Groups = lr.Extras, lr.Groups
	default:
		if len(lr.Extras)+len(lr.Groups) > 0 {
			err = inputError("[build] names extras or groups, but %s has none: set lock to a file that has them", l.name)
		}
	}
	if err != nil {
		return "", err
	}
	said, err := lr.inspect(ctx, q)
	if err != nil {
		return "", fmt.Errorf("%s: %w", l.name, err)
	}
	l.requirements, l.list = q.Requirements, said.Requirements
	for i := range l.list {
		l.list[i].Where = lr.plain(l.list[i].Where)
	}
	if err := lr.checkPins(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s", l.name, plain.Count(lr.expected(), "dependency", "dependencies")), nil
}

// expected returns the number of wheels that the lock names; a requirements file without hashes may
// lead to more.
func (lr lockReader) expected() (n int) {
	for _, r := range lr.lock.list {
		if r.Applies {
			n++
		}
	}
	return n
}

// find finds the lock among the project's files.
func (lr lockReader) find() error {
	names := []string{uvLock, pylockTOML, requireText}
	if lr.Lock != "" {
		names = []string{path.Clean(lr.Lock)}
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(lr.stage, name)); err == nil {
			lr.lock = lock{name: name, kind: kindOf(name)}
			return nil
		}
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(lr.Dir, name)); err == nil {
			return inputError("%s exists, but is not one of the project's files: "+
				"run git add %s, or add it to [build] files", name, name)
		}
	}
	if lr.Lock != "" {
		return inputError("no lock file %s in %s", lr.Lock, lr.Dir)
	}
	return inputError("no lock file in %s: create uv.lock (uv lock), pylock.toml (pip lock, uv export) or "+
		"requirements.txt (pip-compile --generate-hashes), or set [build] lock; a project without dependencies needs "+
		"an empty requirements.txt", lr.Dir)
}

var pylockName = regexp.MustCompile(`^pylock\.([^.]+\.)?toml$`) // PEP 751

func kindOf(name string) string {
	switch base := path.Base(name); {
	case base == uvLock:
		return uvLock
	case pylockName.MatchString(base):
		return pylockTOML
	}
	return requireText
}

// checkPins reports the dependencies that a requirements file does not pin.
func (lr lockReader) checkPins() error {
	if lr.lock.complete() {
		return nil
	}
	var open []string
	for _, r := range lr.lock.list {
		if r.Applies && r.Path == "" && !r.Hashed {
			open = append(open, fmt.Sprintf("%s (%s)", r.Line, r.Where))
		}
	}
	const how = "pip-compile --generate-hashes and uv pip compile --generate-hashes add hashes"
	if lr.RequirePinned {
		return inputError("--require-pinned: %s no hash: %s.\n%s",
			plain.Count(len(open), "dependency has", "dependencies have"), few(open), how)
	}
	lr.warn("%s no hash, so the next build may get other files: %s. %s",
		plain.Count(len(open), "dependency has", "dependencies have"), few(open), how)
	return nil
}

// exportUV exports uv's lock as a requirements file, after checking that it matches the project.
func (lr lockReader) exportUV(ctx context.Context, to string) error {
	uv := lr.uv()
	if uv == "" {
		return inputError("%s needs uv, which is not installed: install it (https://docs.astral.sh/uv, or pip install uv), "+
			"or set [build] lock = \"requirements.txt\"", lr.lock.name)
	}
	dir := filepath.Join(lr.stage, path.Dir(lr.lock.name))
	if err := lr.checkUV(ctx, uv, dir); err != nil {
		return err
	}
	args := []string{
		uv, "export", "--frozen", "--no-dev", "--no-emit-project", "--no-editable", "--no-header",
		"--no-annotate", "--python", lr.python.path,
	}
	for _, name := range lr.Extras {
		args = append(args, "--extra", name)
	}
	for _, name := range lr.Groups {
		args = append(args, "--group", name)
	}
	out, err := lr.data(ctx, "uv export", Command{Args: args, Dir: dir})
	if err != nil {
		return err
	}
	if lr.lock.index, err = registries(filepath.Join(lr.stage, lr.lock.name)); err != nil {
		return inputError("read %s: %v", lr.lock.name, err)
	}
	return os.WriteFile(to, out, 0o600)
}

// checkUV asks uv whether its lock matches pyproject.toml, first without the network.
func (lr lockReader) checkUV(ctx context.Context, uv, dir string) error {
	var err error
	for _, more := range [][]string{{"--offline"}, nil} {
		args := append([]string{uv, "lock", "--check", "--python", lr.python.path}, more...)
		if err = lr.tool(ctx, "uv lock --check", Command{Args: args, Dir: dir}, nil); err == nil {
			return nil
		}
		if t := asTool(err); t == nil || t.says("needs to be updated") {
			break
		}
	}
	switch t := asTool(err); {
	case t == nil:
		return err
	case t.says("needs to be updated"):
		return inputError("%s is outdated, it does not match pyproject.toml: run uv lock, check the changes and commit them",
			lr.lock.name)
	case errors.Is(offline(err), err) && offline(err) != err: //nolint:errorlint // whether it has become another
		lr.warn("cannot check without a network whether %s matches pyproject.toml", lr.lock.name)
		return nil
	}
	return err
}

// registries returns the indexes that a uv.lock names in addition to PyPI, because pip does not
// read [tool.uv].
func registries(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f struct {
		Package []struct {
			Source struct {
				Registry string `toml:"registry"`
			} `toml:"source"`
		} `toml:"package"`
	}
	if err := toml.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	var list []string
	for _, p := range f.Package {
		url := p.Source.Registry
		if strings.HasPrefix(url, "http") && !strings.Contains(url, "//pypi.org/") && !slices.Contains(list, url) {
			list = append(list, url)
		}
	}
	return list, nil
}

// remote writes the lock's requirements for the index as files for pip. Requirements that cannot
// have a hash, because they come from a repository, are in a separate file: pip requires hashes for
// all of a file or for none. The user's own file is used unchanged, with its options.
func (lr lockReader) remote() (files []string, hashed []bool, err error) {
	if lr.lock.kind == requireText {
		if lr.expected() == 0 {
			return nil, nil, nil
		}
		return []string{lr.lock.requirements}, []bool{lr.lock.complete()}, nil
	}
	for _, with := range []bool{true, false} {
		text := lr.lock.normal(func(r requirement) bool { return r.Hashed == with })
		if len(text) == 0 {
			continue
		}
		file := filepath.Join(lr.temp, fmt.Sprintf("remote-%t.txt", with))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, nil, err
		}
		files, hashed = append(files, file), append(hashed, with)
	}
	return files, hashed, nil
}

// normal returns the dependencies from the index that apply here, one per line.
func (l *lock) normal(which func(requirement) bool) []byte {
	var text bytes.Buffer
	for _, r := range l.list {
		if !r.Applies || r.Path != "" || !which(r) {
			continue
		}
		text.WriteString(r.Line)
		for _, h := range r.Hashes {
			text.WriteString(" --hash=" + h)
		}
		text.WriteString("\n")
	}
	return text.Bytes()
}

// locals returns the directories of the project that its lock lists as dependencies, relative to
// the project.
func (lr lockReader) locals() ([]string, error) {
	var list []string
	stage, err := filepath.EvalSymlinks(lr.stage)
	if err != nil {
		return nil, err
	}
	for _, r := range lr.lock.list {
		if !r.Applies || r.Path == "" {
			continue
		}
		at, err := filepath.EvalSymlinks(r.Path)
		if err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(stage, at)
		if err != nil || !filepath.IsLocal(rel) {
			return nil, inputError("%s: %s is a directory outside the project: a bundle cannot contain it",
				lr.lock.name, r.Line)
		}
		if rel != "." { // the project itself; see isPackage
			list = append(list, rel)
		}
	}
	return list, nil
}

// exists reports whether a path exists.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
