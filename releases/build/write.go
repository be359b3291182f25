package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"superctl/releases/bundle"
	wheelfile "superctl/releases/wheel"
)

// writeBundle writes the file atomically.
func (b *builder) writeBundle(ctx context.Context) (string, error) {
	m, from, err := b.manifest()
	if err != nil {
		return "", err
	}
	target := b.target(m)
	out, err := renameio.TempFile(filepath.Dir(target), target)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", target, err)
	}
	defer out.Cleanup()
	if err := bundle.Write(out, m, b.content(ctx, m, from)); err != nil {
		return "", err
	}
	r := b.result
	r.Manifest, r.File = m, target
	if r.Bytes, r.SHA256, err = bundle.Sum(out.Name()); err != nil {
		return "", err
	}
	if r.Changed, err = b.replaces(target, r.SHA256); err != nil {
		return "", err
	}
	if !r.Changed {
		return filepath.Base(target) + ", as it was there", nil
	}
	if err := out.Chmod(0o644); err != nil {
		return "", err
	}
	if err := out.CloseAtomicallyReplace(); err != nil {
		return "", fmt.Errorf("write %s: %w", target, err)
	}
	return fmt.Sprintf("%s, %s", filepath.Base(target), Size(r.Bytes)), nil
}

// content returns a function that opens the content of each member, and shows the progress.
func (b *builder) content(
	ctx context.Context, m *bundle.Manifest, from map[string]string,
) func(bundle.Member) (io.ReadCloser, error) {
	total, done := m.Bytes(), int64(0)
	for _, e := range m.Members {
		total -= e.Unpacked
	}
	return func(e bundle.Member) (io.ReadCloser, error) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		done += e.Size
		b.Show(Event{
			Type: "progress", Step: "bundle", Done: done, Total: total,
			Detail: fmt.Sprintf("%s of %s", Size(done), Size(total)),
		})
		return os.Open(from[e.Path])
	}
}

// checkOutput checks the directory of the bundle before the build; a path that ends with a slash is
// created.
func (b *builder) checkOutput() error {
	if strings.HasSuffix(b.Output, "/") {
		if err := os.MkdirAll(b.Output, 0o755); err != nil { // bundles are no secret
			return inputError("the directory for the bundle: %v", err)
		}
		return nil
	}
	dir := filepath.Dir(b.Output)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return inputError("the directory %s for the bundle does not exist", dir)
	}
	return nil
}

// target returns the path of the bundle: the requested file, or the bundle's name in the requested
// directory.
func (b *builder) target(m *bundle.Manifest) string {
	to := b.Output
	if st, err := os.Stat(to); to == "" || strings.HasSuffix(to, "/") || err == nil && st.IsDir() {
		return filepath.Join(to, m.File())
	}
	return to
}

// replaces reports whether the bundle differs from an existing file. A bundle of a commit is not
// replaced by a different one of the same name without Force, because it may have been installed.
// That of a working tree is built at the current time, and so always differs.
func (b *builder) replaces(target, sum string) (bool, error) {
	_, have, err := bundle.Sum(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case have == sum:
		return false, nil
	case b.Force || b.source.dirty || !b.source.git:
		return true, nil
	}
	why := ""
	if f, err := os.Open(target); err == nil {
		old, bad := bundle.ReadManifest(f)
		if _ = f.Close(); bad == nil { // it was only read
			why = otherwise(old, b.result.Manifest)
		}
	}
	return false, fmt.Errorf("%s already exists and differs%s: use --force to replace it, "+
		"or --version to give this one another name", target, why)
}

// otherwise describes how a bundle differs from another one of the same name.
func otherwise(old, now *bundle.Manifest) string {
	for _, one := range []struct{ what, old, now string }{
		{"Python", old.Python.Version, now.Python.Version},
		{"superctl", old.Superctl, now.Superctl},
		{"commit", old.Commit, now.Commit},
		{"builder", old.Builder, now.Builder},
		{"lock", old.Lock.Name, now.Lock.Name},
	} {
		if one.old != one.now {
			return fmt.Sprintf(" (its %s is %q, that of this build %q)", one.what, one.old, one.now)
		}
	}
	members := func(m *bundle.Manifest) map[string]bundle.Member {
		all := make(map[string]bundle.Member)
		for _, e := range m.Members {
			all[e.Path] = e
		}
		return all
	}
	before, after := members(old), members(now)
	var differ []string
	for path, e := range after {
		if before[path] != e {
			differ = append(differ, path)
		}
		delete(before, path)
	}
	for path := range before {
		differ = append(differ, path)
	}
	if len(differ) == 0 {
		return " (in what its manifest says)"
	}
	slices.Sort(differ)
	return " (in " + few(differ) + ")"
}

// manifest returns the manifest of the bundle, and the source of each member's content.
func (b *builder) manifest() (*bundle.Manifest, map[string]string, error) {
	_, built, err := b.times()
	if err != nil {
		return nil, nil, err
	}
	m := &bundle.Manifest{
		Format: bundle.Format, Name: b.Name, Version: b.Version,
		Commit: b.source.commit, Branch: b.source.branch, Dirty: b.source.dirty, Committed: b.source.committed,
		Built: built, Builder: b.Builder, Superctl: b.Superctl,
		Python:    b.python.facts.manifest(),
		Lock:      bundle.Lock{Name: b.lock.name, SHA256: b.lock.sum},
		Processes: b.Processes, Smoke: b.Smoke,
		Members: members(b.files),
	}
	from := make(map[string]string)
	for _, f := range b.files {
		from[bundle.Project+"/"+f.path] = f.from
	}
	files := make([]string, 0, len(b.wheels))
	for _, w := range b.wheels {
		n, err := unpacked(w.path)
		if err != nil {
			return nil, nil, err
		}
		path := bundle.Wheels + "/" + w.File
		m.Members = append(m.Members, bundle.Member{
			Path: path, Mode: 0o644, Size: w.Size, SHA256: w.SHA256,
			Unpacked: n,
		})
		from[path] = w.path
		files = append(files, w.File)
	}
	m.Python.Libc = wheelfile.LibcOf(files, m.Python.Libc)
	return m, from, nil
}
