package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"superctl/plain"
	"superctl/releases/bundle"
)

// file is a file or a symbolic link of the project, or an output of its commands.
type file struct {
	path string // relative, with slashes
	mode uint32
	size int64
	sum  string
	link string
	from string // where its content is; "" of a link
	ship bool   // goes into the bundle
}

// pyproject is the part of pyproject.toml that a build uses.
type pyproject struct {
	Project struct {
		Name     string `toml:"name"`
		Requires string `toml:"requires-python"`
	} `toml:"project"`
	BuildSystem map[string]any `toml:"build-system"`
	Tool        struct {
		UV struct {
			Package *bool `toml:"package"`
		} `toml:"uv"`
	} `toml:"tool"`
}

// readProject copies the project, so that it cannot change during the build, and determines its
// name and version.
func (b *builder) readProject(ctx context.Context) (string, error) {
	var err error
	if b.source, err = b.readSource(ctx); err != nil {
		return "", err
	}
	files, err := b.list(ctx)
	if err != nil {
		return "", err
	}
	if err := b.copyProject(ctx, files); err != nil {
		return "", err
	}
	if err := b.readPyproject(); err != nil {
		return "", err
	}
	if err := b.name(); err != nil {
		return "", err
	}
	b.tellOfTree()
	shipped, bytes := 0, int64(0)
	for _, f := range b.files {
		if f.ship {
			shipped, bytes = shipped+1, bytes+f.size
		}
	}
	return fmt.Sprintf("%s %s, %s, %s", b.Name, b.Version, plain.Count(shipped, "file", "files"), Size(bytes)), nil
}

// list returns the files to copy: everything that git tracks, because the build may need files that
// are not shipped, and the files that the config names.
func (b *builder) list(ctx context.Context) ([]file, error) {
	if !b.source.git && len(b.Files) == 0 {
		return nil, inputError("%s is not a git checkout, so the files of the project are unknown: list them in "+
			`superctl.toml ([build] files = ["manage.py", "shop"]), or run git init, git add and git commit`, b.Dir)
	}
	named, err := b.named()
	if err != nil {
		return nil, err
	}
	ignored, err := b.exported(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]file)
	for _, p := range b.source.tracked {
		all[p] = file{path: p, ship: len(b.Files) == 0 && !ignored[p]}
	}
	for _, p := range named {
		if _, tracked := all[p]; !tracked && b.source.git {
			b.source.dirty = true
			b.source.changed = append(b.source.changed, "?? "+p)
		}
		all[p] = file{path: p, ship: true}
	}
	list := make([]file, 0, len(all))
	for _, f := range all {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b file) int { return strings.Compare(a.path, b.path) })
	if len(list) == 0 {
		return nil, inputError("git tracks no file in %s: run git add and git commit first", b.Dir)
	}
	return list, nil
}

// exported returns the files that git archive would omit.
func (b *builder) exported(ctx context.Context) (map[string]bool, error) {
	if !b.source.git || len(b.Files) > 0 {
		return nil, nil
	}
	return b.ignored(ctx, b.source.tracked)
}

// named returns the files of the config's list: files, directories with their content, and
// patterns.
func (b *builder) named() ([]string, error) {
	var list []string
	for _, pattern := range b.Files {
		found, err := fs.Glob(os.DirFS(b.Dir), pattern)
		if err != nil {
			return nil, inputError("files: invalid pattern %q: %v", pattern, err)
		}
		if len(found) == 0 {
			return nil, inputError("files: no %s in %s", pattern, b.Dir)
		}
		for _, p := range found {
			below, err := walk(b.Dir, p)
			if err != nil {
				return nil, err
			}
			list = append(list, below...)
		}
	}
	return list, nil
}

// walk lists the files below a path, except files that no release needs.
func walk(root, p string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(filepath.Join(root, p), func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		switch {
		case d.Name() == ".git", d.IsDir() && d.Name() == "__pycache__":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir(), strings.HasSuffix(d.Name(), ".pyc"):
			return nil
		}
		list = append(list, filepath.ToSlash(rel))
		return nil
	})
	return list, err
}

// copyProject copies the files into the build's directory, through a root that no link can leave.
func (b *builder) copyProject(ctx context.Context, list []file) error {
	root, err := os.OpenRoot(b.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var pointers []string
	for _, f := range list {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.from = filepath.Join(b.stage, filepath.FromSlash(f.path))
		err := copyFile(root, &f)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted, which git calls a change
			continue
		case err != nil:
			return err
		}
		if f.ship && isPointer(f) {
			pointers = append(pointers, f.path)
		}
		b.files = append(b.files, f)
	}
	if len(pointers) > 0 {
		b.warn("%s instead of content: run git lfs pull (%s)",
			plain.Count(len(pointers), "file is a Git LFS pointer", "files are Git LFS pointers"), few(pointers))
	}
	return b.checkFiles()
}

// checkFiles reports early what the bundle would refuse at the end: links that lead outside, and
// reserved names.
func (b *builder) checkFiles() error {
	m := bundle.Manifest{Format: bundle.Format, Name: "x", Version: "x", Members: members(b.files)}
	if err := m.Check(); err != nil {
		return &InputError{strings.ReplaceAll(err.Error(), `member "`+bundle.Project+"/", `"`)}
	}
	return nil
}

// members returns the files as members of a bundle, in order.
func members(files []file) []bundle.Member {
	var list []bundle.Member
	for _, f := range files {
		if f.ship {
			list = append(list, bundle.Member{
				Path: bundle.Project + "/" + f.path, Mode: f.mode, Size: f.size,
				SHA256: f.sum, Link: f.link,
			})
		}
	}
	slices.SortFunc(list, func(a, b bundle.Member) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// copyFile copies one file of root to f.from and fills in its metadata.
func copyFile(root *os.Root, f *file) error {
	st, err := root.Lstat(f.path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.from), 0o755); err != nil { // as git makes it
		return err
	}
	f.mode = 0o644
	if st.Mode()&0o111 != 0 {
		f.mode = 0o755
	}
	switch {
	case st.Mode().Type() == fs.ModeSymlink:
		f.mode = 0
		if f.link, err = root.Readlink(f.path); err != nil {
			return err
		}
		return os.Symlink(f.link, f.from)
	case st.IsDir():
		return inputError("submodule %s is not checked out: run git submodule update --init --recursive", f.path)
	case !st.Mode().IsRegular():
		return inputError("%s is neither a file nor a link (%s)", f.path, st.Mode().Type())
	}
	in, err := root.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	return f.write(in)
}

func (f *file) write(in io.Reader) error {
	out, err := os.OpenFile(f.from, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(f.mode))
	if err != nil {
		return err
	}
	sum := sha256.New()
	f.size, err = io.Copy(io.MultiWriter(out, sum), in)
	f.sum = hex.EncodeToString(sum.Sum(nil))
	return errors.Join(err, out.Close())
}

// isPointer reports whether a file is a Git LFS pointer whose content was not fetched.
func isPointer(f file) bool {
	const first = "version https://git-lfs.github.com/spec/"
	if f.link != "" || f.size > 1024 || f.size < int64(len(first)) {
		return false
	}
	data, err := os.ReadFile(f.from)
	return err == nil && strings.HasPrefix(string(data), first)
}

func (b *builder) readPyproject() error {
	data, err := os.ReadFile(filepath.Join(b.stage, "pyproject.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := toml.Unmarshal(data, &b.project); err != nil {
		return inputError("read pyproject.toml: %v", err)
	}
	return nil
}

// isPackage reports whether the project itself is installed as a wheel: as configured, or else by
// uv's rules.
func (b *builder) isPackage() bool {
	switch {
	case b.Package != nil:
		return *b.Package
	case b.project.Tool.UV.Package != nil:
		return *b.project.Tool.UV.Package
	}
	return b.project.BuildSystem != nil
}

// tellOfTree warns of differences between the working tree and the commit.
func (b *builder) tellOfTree() {
	if n := len(b.source.changed); n > 0 {
		b.warn("the tree has uncommitted changes: %s (%s)", plain.Count(n, "file", "files"), few(b.source.changed))
	}
	left := slices.DeleteFunc(slices.Clone(b.source.untracked), func(p string) bool {
		return strings.HasSuffix(p, ".tar.zst") || strings.HasSuffix(p, bundle.SignatureSuffix) // of an earlier build
	})
	if len(left) > 0 && len(b.Files) == 0 {
		b.warn("%s in the bundle: %s", plain.Count(len(left), "untracked file is not", "untracked files are not"), few(left))
	}
}

// few returns the beginning of a list.
func few(list []string) string {
	const most = 3
	trimmed := make([]string, 0, most)
	for _, s := range list[:min(len(list), most)] {
		trimmed = append(trimmed, strings.TrimSpace(s))
	}
	text := strings.Join(trimmed, ", ")
	if len(list) > most {
		text += ", ..."
	}
	return text
}

// Size formats a number of bytes for people.
func Size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000_000:
		return fmt.Sprintf("%d kB", n/1000)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
}
