package build

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"

	"superctl/releases/bundle"
)

// sourceEpoch is the build time of a dependency that is built from source: the earliest that a zip
// file can hold. The commit's time would give the same dependency different bytes in each commit.
var sourceEpoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant that Go cannot say

// recipe describes how a wheel is built from source.
type recipe struct {
	what   string // in messages
	key    string // a hash of all that the wheel is made of
	epoch  time.Time
	source func(n int) (string, error) // where it is for the nth time
	tools  string                      // directory of wheels for its build system; "" = from the index
}

// ownPackages returns the wheels of the project itself, if it is a package, and of other packages
// of the project that its lock names.
func (b *builder) ownPackages(ctx context.Context) ([]wheel, error) {
	dirs, err := b.locks().locals()
	if err != nil {
		return nil, err
	}
	if b.isPackage() {
		dirs = append(dirs, ".")
	}
	epoch, _, err := b.times()
	if err != nil {
		return nil, err
	}
	if !b.source.git { // else now, which is different each time
		epoch = sourceEpoch
	}
	var list []wheel
	for i, dir := range dirs {
		r := recipe{
			what: dir, key: b.hash("tree", b.python.facts.identity(), b.treeSum(), epoch.String(), dir), epoch: epoch,
			source: func(n int) (string, error) {
				to := filepath.Join(b.temp, fmt.Sprintf("own-%d-%d", i, n)) // a build leaves its traces in the tree
				return filepath.Join(to, dir), b.copyStage(to)
			},
		}
		if dir == "." {
			r.what = b.Name
		}
		w, ok := b.made(r)
		if !ok {
			r.tools = b.buildTools(ctx, dir)
			if w, err = b.fromSource(ctx, r); err != nil {
				return nil, err
			}
		}
		list = append(list, w)
	}
	return list, nil
}

// buildTools returns a directory of wheels with the build system of a package, from the cache if
// possible: the next commit is then built without the network, and by the same version. It returns
// "" on failure; pip then fetches the build system itself and reports the error.
func (b *builder) buildTools(ctx context.Context, dir string) string {
	var f struct {
		BuildSystem struct {
			Requires []string `toml:"requires"`
		} `toml:"build-system"`
	}
	data, err := os.ReadFile(filepath.Join(b.stage, dir, "pyproject.toml"))
	if err != nil || toml.Unmarshal(data, &f) != nil || len(f.BuildSystem.Requires) == 0 {
		return ""
	}
	key := b.hash("tools", b.python.facts.identity(), strings.Join(f.BuildSystem.Requires, "\n"))
	list, ok := b.cache.recall(key)
	if !ok {
		if list, err = b.fetchTools(ctx, key, f.BuildSystem.Requires); err != nil {
			return ""
		}
	}
	links := filepath.Join(b.temp, "tools-"+key[:16])
	if exists(links) {
		return links
	}
	if err := os.Mkdir(links, 0o700); err != nil {
		return ""
	}
	for _, w := range list {
		if err := os.Symlink(w.path, filepath.Join(links, w.File)); err != nil {
			return ""
		}
	}
	return links
}

func (b *builder) fetchTools(ctx context.Context, key string, requires []string) ([]wheel, error) {
	dir := filepath.Join(b.temp, "fetched-"+key[:16])
	args := append(b.pip(), "download", "--only-binary", ":all:", "--progress-bar", "off", "--dest", dir)
	args = append(append(args, "--"), requires...)
	if err := b.tool(ctx, "pip download", Command{Args: args, Dir: b.temp}, nil); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []wheel
	for _, e := range entries {
		w, err := b.cache.keep(filepath.Join(dir, e.Name()), nil)
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, b.cache.remember(key, list)
}

// made returns the wheel of a recipe if it was built before.
func (b *builder) made(r recipe) (wheel, bool) {
	list, ok := b.cache.recall(r.key)
	if !ok || len(list) != 1 {
		return wheel{}, false
	}
	return list[0], true
}

// fromSource builds a wheel twice, concurrently, to check whether its build is deterministic.
func (b *builder) fromSource(ctx context.Context, r recipe) (wheel, error) {
	if w, ok := b.made(r); ok {
		return w, nil
	}
	b.Show(Event{Type: "progress", Step: "wheels", Detail: "building " + r.what + " from source"})
	var made [2]string
	var failed [2]error
	var both sync.WaitGroup
	for n := range made {
		both.Go(func() { made[n], failed[n] = b.buildOnce(ctx, r, n) })
	}
	both.Wait()
	for _, err := range failed {
		if err != nil {
			return wheel{}, err
		}
	}
	differs, err := difference(made[0], made[1])
	if err != nil {
		return wheel{}, fmt.Errorf("compare two builds of %s: %w", r.what, err)
	}
	w, err := b.cache.keep(made[0], differs)
	if err != nil {
		return wheel{}, err
	}
	return w, b.cache.remember(r.key, []wheel{w})
}

func (b *builder) buildOnce(ctx context.Context, r recipe, n int) (string, error) {
	source, err := r.source(n)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.temp, "built", r.key[:16], strconv.Itoa(n))
	flags := func(name string) string { // debug information has the directory of the build, which is another each time
		have, _ := lookup(b.Environ, name)
		return name + "=" + strings.TrimSpace(have+" -g0")
	}
	env := []string{
		epochVar + "=" + strconv.FormatInt(r.epoch.Unix(), 10), "TZ=UTC", "PYTHONDONTWRITEBYTECODE=1",
		flags("CFLAGS"), flags("CXXFLAGS"),
	}
	args := append(b.pip(), "wheel", "--no-deps", "--progress-bar", "off", "--wheel-dir", dir, source)
	here := env
	if r.tools != "" {
		here = append(slices.Clone(env), "PIP_NO_INDEX=1", "PIP_FIND_LINKS="+r.tools)
	}
	what := "build a wheel of " + r.what
	err = b.tool(ctx, what, Command{Args: args, Dir: b.temp, Env: b.environment(here...)}, nil)
	if t := asTool(err); t != nil && r.tools != "" && t.says("No matching distribution", "Could not find a version") {
		// The build system wants more than pyproject.toml says.
		err = b.tool(ctx, what, Command{Args: args, Dir: b.temp, Env: b.environment(env...)}, nil)
	}
	if err != nil {
		return "", b.explain(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("the build of %s made %d wheels instead of one", r.what, len(found))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// difference names the files in which two wheels differ.
func difference(a, b string) ([]string, error) {
	_, sumA, errA := bundle.Sum(a)
	_, sumB, errB := bundle.Sum(b)
	if err := errors.Join(errA, errB); err != nil || sumA == sumB {
		return nil, err
	}
	if filepath.Base(a) != filepath.Base(b) {
		return []string{"its name"}, nil
	}
	contentsA, errA := contents(a)
	contentsB, errB := contents(b)
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	var list []string
	for name, sum := range contentsA {
		if contentsB[name] != sum && !strings.HasSuffix(name, ".dist-info/RECORD") {
			list = append(list, name)
		}
	}
	for name := range contentsB {
		if _, ok := contentsA[name]; !ok {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		list = []string{"the times or the order of its files"}
	}
	slices.Sort(list)
	return list, nil
}

// contents returns the hashes of the files in a wheel.
func contents(path string) (map[string]string, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	sums := make(map[string]string)
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		_, err = io.Copy(h, in)
		if err = errors.Join(err, in.Close()); err != nil {
			return nil, err
		}
		sums[f.Name] = hex.EncodeToString(h.Sum(nil))
	}
	return sums, nil
}
