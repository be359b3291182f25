package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// source is the project's state in git; the zero source is a directory outside git.
type source struct {
	git       bool
	commit    string
	branch    string
	committed time.Time
	dirty     bool
	tracked   []string // paths of files, relative to the project
	changed   []string // what git says of those that differ from the commit
	untracked []string
}

// git runs git in the project. It disables fsmonitor, a program that the checkout can configure.
func (b *builder) git(ctx context.Context, args ...string) ([]byte, error) {
	return b.data(ctx, "git "+args[0], Command{Args: append([]string{
		"git", "-c", "core.fsmonitor=false", "-c",
		"log.showSignature=false",
	}, args...), Dir: b.Dir})
}

// readSource reads the state of the project from git.
func (b *builder) readSource(ctx context.Context) (source, error) {
	if b.look("git") == "" {
		if inCheckout(b.Dir) {
			return source{}, inputError("%s is a git checkout, but git is not installed: apt install git", b.Dir)
		}
		return source{}, nil
	}
	if _, err := b.git(ctx, "rev-parse", "--is-inside-work-tree"); err != nil {
		t := asTool(err)
		switch {
		case t == nil:
			return source{}, err
		case t.says("dubious ownership"):
			return source{}, inputError("%s belongs to another user, so git refuses to read it: if you trust it, run "+
				"git config --global --add safe.directory %s", b.Dir, b.Dir)
		case t.says("not a git repository"):
			return source{}, nil
		}
		return source{}, err
	}
	s := source{git: true}
	var err error
	if s.commit, s.committed, err = b.head(ctx); err != nil {
		return s, err
	}
	if branch, err := b.git(ctx, "symbolic-ref", "--short", "-q", "HEAD"); err == nil { // else it is detached, as in CI
		s.branch = strings.TrimSpace(string(branch))
	}
	if s.tracked, err = b.paths(ctx, "ls-files", "-z", "--cached", "--recurse-submodules"); err != nil {
		return s, err
	}
	if s.changed, err = b.paths(ctx, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no",
		"--ignore-submodules=none", "--", "."); err != nil {
		return s, err
	}
	s.dirty = len(s.changed) > 0
	s.untracked, err = b.paths(ctx, "ls-files", "-z", "--others", "--exclude-standard")
	return s, err
}

func inCheckout(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		if dir == "/" {
			return false
		}
	}
}

// head returns the commit that is checked out, and its time.
func (b *builder) head(ctx context.Context) (commit string, at time.Time, err error) {
	out, err := b.git(ctx, "log", "-1", "--format=%H %ct", "HEAD")
	if t := asTool(err); t != nil && t.says("unknown revision", "bad revision", "does not have any commits") {
		return "", at, inputError("%s has no commit yet: run git commit first", b.Dir)
	}
	if err != nil {
		return "", at, err
	}
	commit, text, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "", at, fmt.Errorf("git log: invalid commit time %q", text)
	}
	return commit, time.Unix(seconds, 0).UTC(), nil
}

// paths returns git's NUL-separated output.
func (b *builder) paths(ctx context.Context, args ...string) ([]string, error) {
	out, err := b.git(ctx, args...)
	if err != nil {
		return nil, err
	}
	var list []string
	for p := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		if len(p) > 0 {
			list = append(list, string(p))
		}
	}
	return list, nil
}

// attributeBatch is how many bytes of paths are passed to git at a time, far below the kernel's
// limit for arguments.
const attributeBatch = 32 << 10

// ignored returns the paths that .gitattributes marks with export-ignore, directly or through a
// parent directory, like git archive. A pattern that ends with a slash matches directories, which
// git recognizes by a trailing slash.
func (b *builder) ignored(ctx context.Context, files []string) (map[string]bool, error) {
	marks := ignoreMarks{builder: b, asked: make(map[string]bool), set: make(map[string]bool)}
	if err := marks.read(ctx, files); err != nil {
		return nil, err
	}
	out := make(map[string]bool)
	for _, f := range files {
		for p := range above(f) {
			out[f] = out[f] || marks.set[p]
		}
	}
	return out, nil
}

// ignoreMarks are the files and directories that have the attribute export-ignore themselves.
type ignoreMarks struct {
	*builder
	asked, set map[string]bool
}

// read asks git for the marks of files and their parent directories, many at a time.
func (m *ignoreMarks) read(ctx context.Context, files []string) error {
	var batch []string
	size := 0
	for _, f := range files {
		for p := range above(f) {
			if m.asked[p] {
				continue
			}
			m.asked[p] = true
			batch, size = append(batch, p), size+len(p)+1
			if size <= attributeBatch {
				continue
			}
			if err := m.ask(ctx, batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return m.ask(ctx, batch)
}

func (m *ignoreMarks) ask(ctx context.Context, paths []string) error {
	answer, err := m.paths(ctx, append([]string{"check-attr", "-z", "export-ignore", "--"}, paths...)...)
	if err != nil {
		return err
	}
	for i := 0; i+2 < len(answer); i += 3 { // path, attribute, value
		if answer[i+2] == "set" {
			m.set[answer[i]] = true
		}
	}
	return nil
}

// above yields a file and its parent directories, the latter with a trailing slash.
func above(file string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !yield(file) {
			return
		}
		for d := path.Dir(file); d != "."; d = path.Dir(d) {
			if !yield(d + "/") {
				return
			}
		}
	}
}
