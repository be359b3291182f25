package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"superctl/proc"
)

// Stray is the evidence that a process runs from another release than its own.
type Stray struct {
	Detour

	PID      int
	By       string // "working directory", "program", "argument", "variable" or "mapped file"
	Variable string // its name
}

// codeVariables are the variables by which a program finds its code. The others lead to data, and
// are checked before the start.
var codeVariables = map[string]bool{ //nolint:gochecknoglobals // a table
	"PATH": true, "PYTHONPATH": true, "PYTHONHOME": true, "VIRTUAL_ENV": true,
	"LD_LIBRARY_PATH": true, "LD_PRELOAD": true,
	"NODE_PATH": true, "GEM_HOME": true, "GEM_PATH": true, "BUNDLE_GEMFILE": true, "RUBYLIB": true, "PERL5LIB": true,
	"GUNICORN_CMD_ARGS": true, "FLASK_APP": true,
}

// OfProcess checks the working directory, program, arguments, variables and mapped files of a
// process, and returns the first that is outside its release. It returns nil if none is, or if the
// process has ended. A file that was only read, such as a Python module, leaves no trace.
func (p *Paths) OfProcess(pid int) (*Stray, error) {
	cwd, err := proc.Dir(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the process has ended
	}
	if err != nil {
		return nil, err
	}
	find := func(by, path string) *Stray {
		if d, ok := p.Find(path, cwd); ok {
			return &Stray{Detour: d, PID: pid, By: by}
		}
		return nil
	}
	if s := find("working directory", cwd); s != nil {
		return s, nil
	}
	if exe, err := proc.Exe(pid); err == nil {
		if s := find("program", exe); s != nil {
			return s, nil
		}
	}
	if s := p.told(pid, cwd); s != nil {
		s.PID = pid
		return s, nil
	}
	files, err := proc.Mapped(pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("mapped files of process %d: %w", pid, err)
	}
	for _, path := range onePerDirectory(files) {
		if s := find("mapped file", path); s != nil {
			return s, nil
		}
	}
	return nil, nil
}

// onePerDirectory returns the first path in each directory.
func onePerDirectory(paths []string) (first []string) {
	seen := make(map[string]bool)
	for _, path := range paths {
		if dir := filepath.Dir(path); !seen[dir] {
			seen[dir] = true
			first = append(first, path)
		}
	}
	return first
}

// told checks the arguments and variables of a process.
func (p *Paths) told(pid int, cwd string) *Stray {
	args, _ := proc.Args(pid) // fails if the process has ended
	for _, word := range args {
		if d, ok := p.InText(word, cwd); ok {
			return &Stray{Detour: d, By: "argument"}
		}
	}
	env, _ := proc.Environ(pid)
	for name, value := range env.All() {
		if !codeVariables[name] {
			continue
		}
		if d, ok := p.InText(value, cwd); ok {
			return &Stray{Detour: d, By: "variable", Variable: name}
		}
	}
	return nil
}
