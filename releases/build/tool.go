package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Command is a program to run.
type Command struct {
	Args, Env []string
	Dir       string
	Stdout    *os.File // gets its stdout; nil = handed on line by line, as its stderr always is
}

// Runner runs a command to its end and returns nil only for exit code 0. When ctx ends, it stops
// the command with all of its children.
type Runner func(ctx context.Context, c Command, line func(string)) error

// lastLines is how many lines of a failed program's output are shown, and keptLines how many are
// searched for the cause.
const (
	lastLines = 12
	keptLines = 500
)

// Of a longer line, such as pip's list of all versions of a package, an error shows the beginning and the end.
const (
	longLine = 300
	lineEnd  = 80
)

// toolError is the failure of a program, with its output.
type toolError struct {
	what string
	err  error
	said []string
}

func (e *toolError) Error() string {
	text := fmt.Sprintf("%s: %v", e.what, e.err)
	for _, line := range e.said[max(len(e.said)-lastLines, 0):] {
		text += "\n  | " + shortened(line)
	}
	return text
}

func shortened(line string) string {
	all := []rune(line)
	if len(all) <= longLine {
		return line
	}
	return string(all[:longLine-lineEnd]) + " ... " + string(all[len(all)-lineEnd:])
}

func (e *toolError) Unwrap() error { return e.err }

// says reports whether the program's output contains one of the words.
func (e *toolError) says(words ...string) bool {
	all := strings.Join(e.said, "\n")
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(all, w) })
}

// tool runs a program whose output matters only if it fails; line gets the output too.
func (b *builder) tool(ctx context.Context, what string, c Command, line func(string)) error {
	if c.Env == nil {
		c.Env = b.environment()
	}
	var said []string
	err := b.Exec(ctx, c, func(l string) {
		if line != nil {
			line(l)
		}
		const again = "WARNING: Retrying"
		switch l = strings.TrimRight(l, " \t"); {
		case l == "", strings.HasPrefix(l, "Progress "):
		case strings.Contains(l, again) &&
			slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, again) }):
		default:
			said = append(said, l)
			said = said[max(len(said)-keptLines, 0):]
		}
	})
	if err != nil {
		return &toolError{what, err, said}
	}
	return nil
}

// data runs a program and returns its stdout.
func (b *builder) data(ctx context.Context, what string, c Command) ([]byte, error) {
	out, err := os.CreateTemp(b.temp, "out-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	c.Stdout = out
	err = b.tool(ctx, what, c, nil)
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(out.Name())
}

// uv returns the path of uv, or "" if it is not installed.
func (b *builder) uv() string { return b.look("uv") }

// look finds a program in PATH, as a shell does.
func (b *builder) look(name string) string {
	path, _ := lookup(b.Environ, "PATH")
	for _, dir := range filepath.SplitList(path) {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// gone are the variables by which the caller's shell, or a git hook around it, would mislead the
// tools (git rev-parse --local-env-vars; python --help-env).
var gone = []string{ //nolint:gochecknoglobals // a constant that Go cannot say
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT",
	"GIT_OBJECT_DIRECTORY", "GIT_DIR",
	"GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS",
	"GIT_REPLACE_REF_BASE",
	"GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS",
	"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT",
	"UV_PROJECT_ENVIRONMENT",
}

// environment returns the caller's environment, with its settings of pip, uv and proxies, without
// variables that would make builds differ, and with more added.
func (b *builder) environment(more ...string) []string {
	env := slices.DeleteFunc(slices.Clone(b.Environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(gone, name)
	})
	env = append(env, "LC_ALL=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONNOUSERSITE=1", "PYTHONUNBUFFERED=1",
		"GIT_OPTIONAL_LOCKS=0",
		"PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_REQUIRE_VIRTUALENV=0", "UV_NO_PROGRESS=1",
		"UV_PYTHON_DOWNLOADS=never")
	// Never prompt: the programs do not run in the foreground of a terminal, and would be stopped
	// when reading from one.
	env = append(env, "GIT_TERMINAL_PROMPT=0")
	if _, ok := lookup(env, "GIT_SSH_COMMAND"); !ok {
		env = append(env, "GIT_SSH_COMMAND=ssh -o BatchMode=yes")
	}
	return unique(append(env, more...))
}

// unique keeps the last value of each variable: programs differ in how they treat duplicates.
func unique(env []string) []string {
	var list []string
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if _, later := lookup(env[i+1:], name); !later {
			list = append(list, e)
		}
	}
	return list
}

func lookup(env []string, name string) (value string, ok bool) {
	for _, e := range env {
		if v, found := strings.CutPrefix(e, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// asTool returns the failure of a program in err, or nil.
func asTool(err error) *toolError {
	var t *toolError
	if errors.As(err, &t) {
		return t
	}
	return nil
}
