//go:build linux

package movecommand

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"superctl/setup"
	"superctl/supervisor/worker"
)

// notInGit returns the files of the checkout that git does not track, directories as one: they are
// not in the release.
func (b *releaseBuild) notInGit(ctx context.Context, from *setup.Import) []string {
	env := b.environment(b.by)
	out, _, err := output(ctx, worker.Command{
		Args: []string{"git", "-c", "core.fsmonitor=false", "ls-files", "-z", "--others", "--directory"},
		Env:  env, Dir: b.site.Checkout, User: b.by.Become(),
	})
	if err != nil {
		return nil // the build says why
	}
	var list []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		if name != "" && !b.expendable(name) && !imported(filepath.Join(b.site.Checkout, name), from) {
			list = append(list, name)
		}
	}
	return list
}

// imported reports whether the import has taken over a file, such as one of variables.
func imported(file string, from *setup.Import) bool {
	return slices.ContainsFunc(from.Lines, func(l setup.Line) bool {
		return l.Verdict == setup.Kept && (l.Text == file || strings.HasSuffix(l.Text, "="+file) || strings.HasSuffix(l.Text, "=-"+file))
	})
}

// expendable reports whether an untracked path is made again for each release, or is kept elsewhere.
func (b *releaseBuild) expendable(name string) bool {
	name = strings.TrimSuffix(name, "/")
	base := path.Base(name)
	for _, sh := range b.site.Shared {
		if name == sh.Path || strings.HasPrefix(sh.Path, name+"/") {
			return true
		}
	}
	full := filepath.Join(b.site.Checkout, name)
	if full == b.site.Releases || full == b.site.Current || full == b.site.EnvFile {
		return true
	}
	if _, err := os.Lstat(filepath.Join(full, "pyvenv.cfg")); err == nil {
		return true
	}
	return slices.Contains([]string{"__pycache__", "node_modules", ".cache", ".gunicorn", ".pytest_cache", ".mypy_cache", ".ruff_cache"}, base) ||
		slices.Contains([]string{".pyc", ".log", ".pid", ".sock", ".egg-info"}, path.Ext(base))
}
