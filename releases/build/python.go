package build

import (
	"archive/zip"
	"context"
	_ "embed" // inspect.py
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"superctl/releases/bundle"
	wheelfile "superctl/releases/wheel"
)

// pythonSearch finds the Python that a release is built for.
type pythonSearch struct{ *builder }

func (b *builder) search() pythonSearch { return pythonSearch{b} }

//go:embed inspect.py
var inspectProgram string

// The pinned version of pip that builds wheels and reads locks, so that every machine does it in
// the same way, whatever pip it has.
const (
	pipVersion = "26.3"
	pipFile    = "pip-" + pipVersion + "-py3-none-any.whl"
	pipSHA256  = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
	oldest     = "3.10" // Python that this pip runs on
)

// python is the interpreter that the bundle is built for.
type python struct {
	path  string
	pip   string // the directory in which ours is unpacked, where Python keeps what it has compiled of it
	facts facts
}

// facts are what the interpreter reports about itself.
type facts struct {
	Implementation string   `json:"implementation"`
	Version        string   `json:"version"`
	ABI            string   `json:"abi"`
	Platform       string   `json:"platform"`
	Libc           string   `json:"libc"`
	Build          string   `json:"build"` // what differs between two builds of one version too
	Tags           []string `json:"tags"`  // of the wheels that it takes

	Scheme wheelfile.Scheme `json:"scheme"` // where in a virtualenv of it the parts of a wheel belong
}

// manifest returns the interpreter as recorded in a bundle.
func (f *facts) manifest() bundle.Python {
	return bundle.Python{
		Implementation: f.Implementation, Version: f.Version, ABI: f.ABI, Platform: f.Platform,
		Libc: f.Libc,
	}
}

// identity returns what a wheel that is built here depends on in addition to its source.
func (f *facts) identity() string {
	return strings.Join([]string{f.Implementation, f.Build, f.ABI, f.Platform, f.Libc}, "\n")
}

// find finds the interpreter, and a pip for it.
func (ps pythonSearch) find(ctx context.Context) (string, error) {
	wanted, why, err := ps.wanted()
	if err != nil {
		return "", err
	}
	if ps.python.path, err = ps.interpreter(ctx, wanted, why); err != nil {
		return "", err
	}
	pip, err := ps.fetchPip(ctx)
	if err != nil {
		return "", err
	}
	ps.python.pip = filepath.Join(ps.temp, "pip-"+pipVersion)
	if err := unpack(pip, ps.python.pip); err != nil {
		return "", fmt.Errorf("unpack pip: %w", err)
	}
	var said reply
	if said, err = ps.inspect(ctx, question{Requires: ps.project.Project.Requires}); err != nil {
		return "", err
	}
	if said.Fits != nil && !*said.Fits {
		if err := ps.other(ctx, wanted, said.Facts.Version); err != nil {
			return "", err
		}
		if said, err = ps.inspect(ctx, question{}); err != nil {
			return "", err
		}
	}
	ps.python.facts = said.Facts
	return fmt.Sprintf("%s %s, %s, %s (%s)", said.Facts.Implementation, said.Facts.Version, said.Facts.Platform,
		said.Facts.Libc, ps.python.path), nil
}

// wanted returns the configured interpreter, or else that of .python-version, as pyenv and uv
// read it; "" means any python3.
func (ps pythonSearch) wanted() (wanted, why string, err error) {
	if ps.Python != "" {
		return ps.Python, "", nil
	}
	data, err := os.ReadFile(filepath.Join(ps.stage, ".python-version"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line, " (.python-version)", nil
		}
	}
	return "", "", nil
}

var versionPattern = regexp.MustCompile(`^(?:python|cpython[@-]?)?(3\.[0-9]+)(\.[0-9]+)?$`)

// interpreter finds an interpreter by path, name or version: in PATH first, then among uv's.
func (ps pythonSearch) interpreter(ctx context.Context, wanted, why string) (string, error) {
	names := []string{"python3", "python"}
	version := versionPattern.FindStringSubmatch(wanted)
	switch {
	case version != nil:
		names = []string{"python" + version[1], "python3"}
	case strings.HasPrefix(wanted, "/"):
		names = []string{wanted}
	case strings.Contains(wanted, "/"):
		return "", inputError("python = %q: use a version (3.12), a name (python3.12) or an absolute path", wanted)
	case wanted != "":
		names = []string{wanted}
	}
	for _, name := range names {
		path, got := ps.try(ctx, name)
		if path == "" {
			continue
		}
		if version == nil || strings.HasPrefix(got+".", version[1]+version[2]+".") {
			return path, nil
		}
	}
	if ps.uv() != "" {
		if path, err := ps.fromUV(ctx, wanted); err == nil {
			return path, nil
		}
	}
	if wanted == "" {
		return "", inputError("python3 not found: run apt install python3, or choose another with --python")
	}
	return "", inputError("Python %s not found%s: install it (with uv: uv python install %s), "+
		"or choose another with --python", wanted, why, wanted)
}

// try runs an interpreter and returns its real path and its version. It returns "" if the
// interpreter is missing or does not run, such as a pyenv shim for a version that is not installed.
func (ps pythonSearch) try(ctx context.Context, name string) (path, version string) {
	if !strings.Contains(name, "/") && ps.look(name) == "" {
		return "", ""
	}
	const program = "import platform, sys; print(sys.executable); print(platform.python_version())"
	out, err := ps.data(ctx, name, Command{Args: []string{name, "-I", "-c", program}, Dir: "/"})
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != 2 {
		return "", ""
	}
	return lines[0], lines[1]
}

func (ps pythonSearch) fromUV(ctx context.Context, wanted string) (string, error) {
	args := []string{ps.uv(), "python", "find", "--no-project", "--system"}
	if wanted != "" {
		args = append(args, wanted)
	}
	out, err := ps.data(ctx, "uv python find", Command{Args: args, Dir: "/"})
	return strings.TrimSpace(string(out)), err
}

// other looks for an interpreter that matches requires-python, unless one was configured.
func (ps pythonSearch) other(ctx context.Context, wanted, have string) error {
	requires := ps.project.Project.Requires
	if wanted == "" && ps.uv() != "" {
		if path, err := ps.fromUV(ctx, requires); err == nil {
			ps.python.path = path
			return nil
		}
	}
	return inputError("the project needs Python %s (requires-python), but %s is %s: choose another with --python "+
		"or [build] python", requires, ps.python.path, have)
}

// fetchPip puts the pinned pip into the cache, and returns its path.
func (b *builder) fetchPip(ctx context.Context) (string, error) {
	if path, err := b.cache.wheel(pipFile, pipSHA256); err == nil {
		return path, nil
	}
	dir := filepath.Join(b.temp, "pip")
	some, err := b.anyPip(ctx)
	if err != nil {
		return "", err
	}
	lock := filepath.Join(b.temp, "pip.txt")
	if err := os.WriteFile(lock, []byte("pip=="+pipVersion+" --hash=sha256:"+pipSHA256+"\n"), 0o600); err != nil {
		return "", err
	}
	args := append(some, "download", "--quiet", "--no-deps", "--require-hashes", "--dest", dir, "-r", lock)
	if err := b.tool(ctx, "fetch pip "+pipVersion, Command{Args: args, Dir: b.temp}, nil); err != nil {
		if t := asTool(err); t != nil && t.says("No matching distribution") &&
			!t.says("NewConnectionError", "Temporary failure") {
			if t.says("from versions: none") {
				return "", fmt.Errorf("%w\nthe index has no pip, and superctl builds with pip %s: put it there, or set another index "+
					"(pip config list, PIP_*)", err, pipVersion)
			}
			return "", fmt.Errorf("%w\npip %s needs Python %s or newer", err, pipVersion, oldest)
		}
		return "", offline(err)
	}
	return b.cache.add(filepath.Join(dir, pipFile), pipSHA256)
}

// unpack unpacks a wheel whose hash was verified.
func unpack(wheel, dir string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer z.Close()
	return os.CopyFS(dir, z)
}

// anyPip returns a pip that can fetch the pinned one: the interpreter's own, that of a virtualenv,
// or uv's.
func (b *builder) anyPip(ctx context.Context) ([]string, error) {
	py := b.python.path
	if b.tool(ctx, "pip", Command{Args: []string{py, "-m", "pip", "--version"}, Dir: "/"}, nil) == nil {
		return []string{py, "-m", "pip"}, nil
	}
	venv := filepath.Join(b.temp, "any")
	inVenv := []string{filepath.Join(venv, "bin", "python"), "-m", "pip"}
	if b.tool(ctx, "venv", Command{Args: []string{py, "-m", "venv", venv}, Dir: "/"}, nil) == nil {
		return inVenv, nil
	}
	if uv := b.uv(); uv != "" {
		if err := b.tool(ctx, "uv venv", Command{Args: []string{
			uv, "venv", "--seed", "--clear", "--no-project",
			"--python", py, venv,
		}, Dir: "/"}, nil); err != nil {
			return nil, offline(err)
		}
		return inVenv, nil
	}
	return nil, inputError("%s has no pip and cannot create a virtualenv with one: "+
		"run apt install python3-venv (Debian, Ubuntu), or install uv", py)
}

// question is the input of inspect.py.
type question struct {
	Requires     string `json:"requires,omitempty"`
	Pylock       string `json:"pylock,omitempty"`
	Requirements string `json:"requirements,omitempty"`

	Extras []string `json:"extras,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

// reply is the output of inspect.py.
type reply struct {
	Error        string        `json:"error"`
	Facts        facts         `json:"facts"`
	Fits         *bool         `json:"fits"`
	Requirements []requirement `json:"requirements"`
}

func (b *builder) inspect(ctx context.Context, q question) (said reply, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return said, err
	}
	program, asked, answered := filepath.Join(b.temp, "inspect.py"), filepath.Join(b.temp, "question"),
		filepath.Join(b.temp, "answer")
	for path, data := range map[string][]byte{program: []byte(inspectProgram), asked: text} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return said, err
		}
	}
	args := []string{b.python.path, "-I", program, b.python.pip, answered, asked}
	if err := b.tool(ctx, "ask "+b.python.path, Command{Args: args, Dir: b.stage}, nil); err != nil {
		if t := asTool(err); t != nil && t.says("SyntaxError", "requires-python") {
			return said, fmt.Errorf("%w\nPython %s or newer is needed", err, oldest)
		}
		return said, err
	}
	data, err := os.ReadFile(answered)
	if err == nil {
		err = json.Unmarshal(data, &said)
	}
	if err == nil && said.Error != "" {
		err = &InputError{b.plain(said.Error)}
	}
	return said, err
}

// plain removes the directories of this build from a text, because they mean nothing to its reader.
func (b *builder) plain(text string) string {
	return strings.NewReplacer(b.stage+"/", "", b.temp+"/", "").Replace(text)
}

// offline adds to a program's failure that the network is the cause, if its output indicates that.
func offline(err error) error {
	if t := asTool(err); t != nil &&
		t.says("NewConnectionError", "Temporary failure in name resolution", "Network is unreachable",
			"Could not connect",
			"dns error", "Failed to fetch", "Connection refused", "ConnectTimeoutError", "NameResolutionError",
			"No route to host") {
		return fmt.Errorf("%w\nthe package index cannot be reached: check the network, the proxy (https_proxy) and "+
			"the index (pip config list)", err)
	}
	return err
}
