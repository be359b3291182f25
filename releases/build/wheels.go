package build

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"superctl/plain"
	"superctl/releases/bundle"
	wheelfile "superctl/releases/wheel"
)

// cacheFormat is part of every cache key. Increase it when the way in which wheels are built
// changes.
const cacheFormat = "1"

// makeWheels collects a wheel for each dependency, and for the project itself if it is a package.
func (b *builder) makeWheels(ctx context.Context) (string, error) {
	wheels, cached, err := b.dependencies(ctx)
	if err != nil {
		return "", err
	}
	ours, err := b.ownPackages(ctx)
	if err != nil {
		return "", err
	}
	b.wheels = append(wheels, ours...)
	slices.SortFunc(b.wheels, func(a, b wheel) int { return strings.Compare(a.File, b.File) })
	var bytes int64
	for i, w := range b.wheels {
		if i > 0 && b.wheels[i-1].File == w.File {
			return "", fmt.Errorf("%s comes both from the lock file and from the project", w.File)
		}
		if !fits(w.File, b.python.facts.Tags) {
			return "", fmt.Errorf("%s is not for %s", w.File, b.python.path)
		}
		if len(w.Differs) > 0 {
			b.warn("%s was built from source, and its build is not deterministic: a second build differs in %s",
				w.File, few(w.Differs))
		}
		bytes += w.Size
	}
	b.result.Wheels = len(b.wheels)
	detail := fmt.Sprintf("%s, %s", plain.Count(len(b.wheels), "wheel", "wheels"), Size(bytes))
	if cached && len(wheels) > 0 {
		detail += ", from the cache"
	}
	return detail, nil
}

// dependencies returns the wheels of the lock.
func (b *builder) dependencies(ctx context.Context) (list []wheel, cached bool, err error) {
	key := b.lockKey()
	if b.lock.complete() {
		if list, ok := b.cache.recall(key); ok {
			return list, true, nil
		}
	}
	dir := filepath.Join(b.temp, "download")
	if err := b.download(ctx, dir); err != nil {
		return nil, false, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries {
		w, err := b.dependency(ctx, filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, false, err
		}
		list = append(list, w)
	}
	if !b.lock.complete() {
		return list, false, nil
	}
	return list, false, b.cache.remember(key, list)
}

// lockKey returns the cache key of everything that determines the wheels of a lock here.
func (b *builder) lockKey() string {
	parts := []string{
		"lock", b.python.facts.identity(), strings.Join(b.python.facts.Tags, " "),
		string(b.lock.normal(func(requirement) bool { return true })),
	}
	if b.lock.kind == requireText {
		parts = append(parts, b.lock.sum) // it may have options such as --no-binary
	}
	for _, name := range []string{"PIP_NO_BINARY", "PIP_ONLY_BINARY"} {
		value, _ := lookup(b.Environ, name)
		parts = append(parts, value)
	}
	return b.hash(parts...)
}

// dependency adds a file that pip has fetched, a wheel or a source distribution.
func (b *builder) dependency(ctx context.Context, path string) (wheel, error) {
	if strings.HasSuffix(path, ".whl") {
		return b.cache.keep(path, nil)
	}
	_, sum, err := bundle.Sum(path)
	if err != nil {
		return wheel{}, err
	}
	return b.fromSource(ctx, recipe{
		what: filepath.Base(path), key: b.hash("source", b.python.facts.identity(), sum), epoch: sourceEpoch,
		source: func(int) (string, error) { return path, nil },
	})
}

// download fetches the lock's requirements from the index.
func (b *builder) download(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, hashed, err := b.locks().remote()
	if err != nil {
		return err
	}
	meter := &meter{total: b.locks().expected(), tell: b.Show}
	for i, file := range files {
		args := append(b.pip(), "download", "--progress-bar", "raw", "--dest", dir, "-r", file)
		if hashed[i] {
			args = append(args, "--require-hashes")
		}
		if b.lock.kind != requireText {
			args = append(args, "--no-deps")
		}
		for _, url := range b.lock.index {
			args = append(args, "--extra-index-url", url)
		}
		if err := b.tool(ctx, "pip download", Command{Args: args, Dir: b.stage, Env: b.environment(b.indexOfUV()...)},
			meter.line); err != nil {
			return b.explain(err)
		}
	}
	return nil
}

func (b *builder) pip() []string { return []string{b.python.path, filepath.Join(b.python.pip, "pip")} }

// indexOfUV passes the index configured for uv to pip, unless pip has its own.
func (b *builder) indexOfUV() []string {
	if _, ok := lookup(b.Environ, "PIP_INDEX_URL"); ok {
		return nil
	}
	for _, name := range []string{"UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		if url, ok := lookup(b.Environ, name); ok && b.lock.kind == uvLock {
			return []string{"PIP_INDEX_URL=" + url}
		}
	}
	return nil
}

// explain adds the next step to a failure of pip.
func (b *builder) explain(err error) error {
	t := asTool(err)
	switch {
	case t == nil:
		return err
	case t.says("In --require-hashes mode, all requirements must"):
		return fmt.Errorf("%w\n%s has hashes, but not for all dependencies: "+
			"create it with pip-compile --generate-hashes, which also lists dependencies of dependencies", err,
			b.lock.name)
	case t.says("THESE PACKAGES DO NOT MATCH THE HASHES"):
		return fmt.Errorf("%w\nthe index has other files than those that %s was created with", err, b.lock.name)
	case t.says("Python.h", "gcc", "g++", "cargo", "compiler"):
		return fmt.Errorf("%w\nno wheel of it for this platform, and compiling it failed: "+
			"install a compiler (apt install gcc python3-dev) and the libraries that it needs", err)
	case t.says("Failed to build", "Failed building wheel", "subprocess-exited-with-error"):
		return fmt.Errorf("%w\nno wheel of it for this platform, and building it from source failed",
			offline(err))
	}
	return offline(err)
}

var (
	progressLine = regexp.MustCompile(`^Progress ([0-9]+) of ([0-9]+)`)
	fetchedLine  = regexp.MustCompile(
		`^\s*(?:Downloading|Using cached|Processing) \S+\.(?:whl|tar\.gz|zip|tar\.bz2)(?: |$)`,
	)
)

// meter counts what pip fetches, from its output.
type meter struct {
	total   int
	tell    func(Event)
	files   int
	bytes   int64
	current int64
}

func (m *meter) line(l string) {
	if p := progressLine.FindStringSubmatch(l); p != nil {
		now, _ := strconv.ParseInt(p[1], 10, 64) // digits
		if now < m.current {
			m.bytes += m.current
		}
		m.current = now
	} else if fetchedLine.MatchString(l) {
		m.files++
	} else {
		return
	}
	total := max(m.total, m.files)
	m.tell(Event{
		Type: "progress", Step: "wheels", Done: int64(m.files), Total: int64(total),
		Detail: fmt.Sprintf("%d of %d, %s", m.files, total, Size(m.bytes+m.current)),
	})
}

// unpacked returns the size of a wheel's content.
func unpacked(path string) (n int64, err error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return 0, fmt.Errorf("%s is not a wheel: %w", filepath.Base(path), err)
	}
	defer z.Close()
	for _, f := range z.File {
		n += int64(f.UncompressedSize64)
	}
	return n, nil
}

// fits reports whether an interpreter with the tags supports a wheel.
func fits(file string, tags []string) bool {
	name, err := wheelfile.ParseName(file)
	return err == nil && slices.ContainsFunc(name.Tags, func(t wheelfile.Tag) bool {
		return slices.Contains(tags,
			t.String())
	})
}

func (b *builder) hash(parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{cacheFormat, pipVersion}, parts...) {
		fmt.Fprintf(h, "%d:%s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
