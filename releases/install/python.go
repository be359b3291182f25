package install

import (
	"context"
	_ "embed" // probe.py
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"superctl/plain"
	"superctl/releases/bundle"
	"superctl/releases/wheel"
)

//go:embed probe.py
var probeProgram string

// python is an interpreter from which a virtualenv can be created.
type python struct {
	wheel.Interpreter
	Path   string       `json:"path"` // the interpreter itself, not a virtualenv's or a shim
	Scheme wheel.Scheme `json:"scheme"`
}

func (p *python) String() string {
	return fmt.Sprintf("%s is %s %s (%s) on %s with %s",
		p.Path, p.Implementation, p.Version, p.ABI, p.Platform, libcText(p.Libc))
}

func libcText(libc string) string {
	if libc == "" {
		return "an unknown C library"
	}
	return libc
}

// findPython finds the interpreter for a bundle: the configured one, or else the first in PATH that
// fits.
func (o *Options) findPython(ctx context.Context, m *bundle.Manifest) (*python, error) {
	candidates := []string{o.Python}
	if o.Python == "" {
		candidates = o.candidates(m.Python.Version)
	}
	var found []string
	var broken error
	for _, path := range candidates {
		p, err := o.probe(ctx, path)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			broken = errors.Join(broken, err)
			continue
		}
		if err := fits(p, m); err == nil {
			return p, nil
		} else if text := p.String(); !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	needs := fmt.Sprintf("the bundle needs %s %s (%s) on %s",
		m.Python.Implementation, minor(m.Python.Version), m.Python.ABI, m.Python.Platform)
	if m.Python.Libc != "" {
		needs += " with " + m.Python.Libc + " or newer"
	}
	switch {
	case len(found) > 0:
		return nil, fmt.Errorf("%s; %s. Install such a Python, name one with python in [install], "+
			"or build a bundle for this machine",
			needs, strings.Join(found, ", "))
	case broken != nil:
		return nil, fmt.Errorf("%s, and none can be used here: %w", needs, broken)
	}
	return nil, fmt.Errorf("%s, and there is none here: install it, or name one with python in [install]", needs)
}

// candidates returns the interpreters named for a version and those named python3, in the order of
// PATH. The first may be unreachable for the app's user, such as a version manager's in root's
// home.
func (o *Options) candidates(version string) (list []string) {
	dirs := append(filepath.SplitList(o.Search), "/usr/local/bin", "/usr/bin")
	for _, name := range []string{"python" + minor(version), "python3"} {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			st, err := os.Stat(path)
			executable := err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
			if filepath.IsAbs(dir) && executable && !slices.Contains(list, path) {
				list = append(list, path)
			}
		}
	}
	return list
}

// minor returns 3.11 for 3.11.2.
func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// probe asks an interpreter to describe itself, as the app's user, who will run it.
func (o *Options) probe(ctx context.Context, path string) (*python, error) {
	var said lines
	var facts string
	c := Command{Args: []string{path, "-I", "-c", probeProgram}, Dir: "/", InRelease: true}
	err := o.Run(ctx, c, func(line string) {
		said.add(line)
		if text, ok := strings.CutPrefix(line, "superctl: "); ok {
			facts = text
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s does not run%s: %w%s", path, o.asUser(), err, plain.Indented(strings.Join(said, "\n")))
	}
	p := new(python)
	if err := json.Unmarshal([]byte(facts), p); err != nil {
		return nil, fmt.Errorf("%s is not Python: it answered %.80q", path, strings.Join(said, "\n"))
	}
	return p, nil
}

// asUser returns the app's user, for messages.
func (o *Options) asUser() string {
	if o.User == "" {
		return ""
	}
	return " as " + o.User
}

// fits returns an error unless the interpreter is one that the bundle was built for and supports
// all of its wheels.
func fits(p *python, m *bundle.Manifest) error {
	want := &m.Python
	same := p.Implementation == want.Implementation && minor(p.Version) == minor(want.Version) &&
		p.ABI == want.ABI && p.Platform == want.Platform
	if !same || p.OlderLibc(want.Libc) {
		return errors.New("another interpreter")
	}
	return nil
}

// checkWheels refuses a bundle with a wheel that the interpreter does not support, regardless of
// the manifest.
func checkWheels(p *python, m *bundle.Manifest) error {
	versions := make(map[string]string) // by distribution
	for i := range m.Members {
		file, ok := strings.CutPrefix(m.Members[i].Path, bundle.Wheels+"/")
		if !ok {
			continue
		}
		name, err := wheel.ParseName(file)
		if err != nil {
			return err
		}
		if other, twice := versions[name.Normal()]; twice {
			return fmt.Errorf("there are two wheels of %s, %s and %s: which one applies is unknown, "+
				"so build the bundle again",
				name.Normal(), other, file)
		}
		versions[name.Normal()] = file
		if !slices.ContainsFunc(name.Tags, p.Supports) {
			return fmt.Errorf("the wheel %s is for %s, and %s", file, wheel.Needs(name.Tags), p)
		}
	}
	return nil
}
