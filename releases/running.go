package releases

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	proc := filepath.Join(procDir, strconv.Itoa(pid))
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the process has ended
	}
	if err != nil {
		return nil, err
	}
	find := func(by, path string) *Stray {
		if d, ok := p.Find(strings.TrimSuffix(path, " (deleted)"), cwd); ok {
			return &Stray{Detour: d, PID: pid, By: by}
		}
		return nil
	}
	if s := find("working directory", cwd); s != nil {
		return s, nil
	}
	if exe, err := os.Readlink(filepath.Join(proc, "exe")); err == nil {
		if s := find("program", exe); s != nil {
			return s, nil
		}
	}
	if s := p.told(proc, cwd); s != nil {
		s.PID = pid
		return s, nil
	}
	var stray *Stray
	seen := make(map[string]bool)
	readable := mapped(proc, func(path string) {
		if dir := filepath.Dir(path); stray == nil && !seen[dir] {
			seen[dir] = true
			stray = find("mapped file", path)
		}
	})
	if !readable {
		return nil, fmt.Errorf("maps of process %d: %w", pid, fs.ErrPermission)
	}
	return stray, nil
}

// told checks the arguments and variables of a process.
func (p *Paths) told(proc, cwd string) *Stray {
	args, _ := os.ReadFile(filepath.Join(proc, "cmdline")) // fails if the process has ended
	for word := range bytes.SplitSeq(args, []byte{0}) {
		if d, ok := p.InText(string(word), cwd); ok {
			return &Stray{Detour: d, By: "argument"}
		}
	}
	env, _ := os.ReadFile(filepath.Join(proc, "environ"))
	for entry := range bytes.SplitSeq(env, []byte{0}) {
		name, value, _ := strings.Cut(string(entry), "=")
		if !codeVariables[name] {
			continue
		}
		if d, ok := p.InText(value, cwd); ok {
			return &Stray{Detour: d, By: "variable", Variable: name}
		}
	}
	return nil
}
