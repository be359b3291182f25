package build

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"superctl/releases/bundle"
)

// makeWheel makes a wheel of files: name and content by turns.
func makeWheel(t *testing.T, path string, files ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err == nil {
			_, err = w.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAWheelFitsByItsTags(t *testing.T) {
	tags := []string{"cp311-cp311-manylinux_2_17_x86_64", "cp311-abi3-linux_x86_64", "py3-none-any"}
	for file, want := range map[string]bool{
		"a-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl": true,
		"a-1.0-1build-py2.py3-none-any.whl":                                true,
		"a-1.0-cp311-abi3-linux_x86_64.whl":                                true,
		"a-1.0-cp312-cp312-manylinux_2_17_x86_64.whl":                      false,
		"a-1.0-cp311-cp311-manylinux_2_17_aarch64.whl":                     false,
		"a-1.0.whl": false,
	} {
		if got := fits(file, tags); got != want {
			t.Errorf("%s: %t", file, got)
		}
	}
}

func TestTwoBuildsOfAWheelAreComparedFileByFile(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a", "x-1-py3-none-any.whl"), filepath.Join(dir, "b", "x-1-py3-none-any.whl")
	for _, tt := range []struct {
		name        string
		one, second []string
		want        []string
	}{
		{"the same", []string{"x.py", "1"}, []string{"x.py", "1"}, nil},
		{
			"another content", []string{"x.so", "1", "y.py", "2", "x-1.dist-info/RECORD", "3"}, []string{
				"x.so",
				"one", "y.py", "2", "x-1.dist-info/RECORD", "4",
			}, []string{"x.so"},
		},
		{
			"more and fewer", []string{"x.py", "1", "y.py", ""}, []string{"x.py", "1", "z.py", ""}, []string{
				"y.py",
				"z.py",
			},
		},
		{
			"another order",
			[]string{"x.py", "1", "y.py", ""},
			[]string{"y.py", "", "x.py", "1"},
			[]string{"the times or the order of its files"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			makeWheel(t, a, tt.one...)
			makeWheel(t, b, tt.second...)
			if got, err := difference(a, b); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("they differ in %q (%v), not %q", got, err, tt.want)
			}
		})
	}
}

func TestWhatTheCacheHasIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	c := &cache{dir: filepath.Join(dir, "cache")}
	from := filepath.Join(dir, "x-1-py3-none-any.whl")
	makeWheel(t, from, "x.py", "1")
	w, err := c.keep(from, []string{"x.py"})
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "y-1-py3-none-any.whl")
	makeWheel(t, other, "y.py", "1")
	second, err := c.keep(other, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := hex.EncodeToString(sha256.New().Sum(nil))
	if _, ok := c.recall(key); ok {
		t.Error("it recalls what nobody has made")
	}
	if err := c.remember(key, []wheel{w, second}); err != nil {
		t.Fatal(err)
	}
	list, ok := c.recall(key)
	if !ok || len(list) != 2 || list[0].path != w.path || list[0].SHA256 != w.SHA256 ||
		!slices.Equal(list[0].Differs, []string{"x.py"}) {
		t.Fatalf("it recalls %t %+v", ok, list)
	}
	for name, damage := range map[string]func() error{
		"a wheel that was changed": func() error { return os.WriteFile(w.path, []byte("x"), 0o644) },
		"a wheel that is gone":     func() error { return os.Remove(w.path) },
		"a note that was cut":      func() error { return os.WriteFile(c.note(key), []byte("[{"), 0o644) },
		"a note that leads away": func() error {
			return os.WriteFile(c.note(key), []byte(`[{"file": "../../x.whl", "sha256": "`+w.SHA256+`"}]`), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			if list, ok := c.recall(key); ok {
				t.Errorf("it recalls %+v", list)
			}
			if _, err := c.keep(from, nil); err != nil { // it is made anew
				t.Fatal(err)
			}
			if err := c.remember(key, []wheel{w, second}); err != nil {
				t.Fatal(err)
			}
			if _, ok := c.recall(key); !ok {
				t.Error("it does not recall what was made anew")
			}
		})
	}
	if _, err := c.add(from, strings.Repeat("0", 64)); err == nil || !strings.Contains(err.Error(), "instead of 0000") {
		t.Errorf("it takes in what is not what it should be: %v", err)
	}
}

func TestProgressIsReadFromWhatPipSays(t *testing.T) {
	var last Event
	m := &meter{total: 2, tell: func(e Event) { last = e }}
	for _, l := range []string{
		"Collecting django==5.2", "  Downloading django-5.2-py3-none-any.whl.metadata (4.1 kB)",
		"  Downloading django-5.2-py3-none-any.whl (8.3 MB)", "Progress 0 of 8300000", "Progress 8300000 of 8300000",
		"Collecting psutil", "  Using cached psutil-7.0.0.tar.gz (497 kB)", "Progress 1000 of 497000",
		"Progress 497000 of 497000",
		"Saved ./django-5.2-py3-none-any.whl",
	} {
		m.line(l)
	}
	if last.Done != 2 || last.Total != 2 || last.Detail != "2 of 2, 8.8 MB" {
		t.Errorf("it says %+v", last)
	}
	m.line("  Downloading asgiref-3-py3-none-any.whl (23 kB)")
	if last.Done != 3 || last.Total != 3 {
		t.Errorf("it says %+v of what a file without hashes leads to", last)
	}
}

func TestAFailureOfAToolShowsTheNextStep(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.lock.name = "requirements.txt"
	for said, want := range map[string]string{
		"ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==.": "" +
			"requirements.txt has hashes, but not for all dependencies",
		"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.": "" +
			"the index has other files than those that requirements.txt was created with",
		"error: command 'gcc' failed: No such file or directory": "" +
			"install a compiler (apt install gcc python3-dev)",
		"WARNING: Retrying (...) after connection broken by 'NewConnectionError(...)': /simple/flask/": "" +
			"the package index cannot be reached",
		"ERROR: Could not find a version that satisfies the requirement nosuch==1.0 (from versions: none)": "" +
			"requirement nosuch==1.0",
	} {
		b.Exec = func(_ context.Context, _ Command, line func(string)) error {
			line(said)
			return errors.New("exit code 1")
		}
		err := b.explain(b.tool(t.Context(), "pip download", Command{}, nil))
		if text := err.Error(); !strings.Contains(text, want) ||
			!strings.HasPrefix(text, "pip download: exit code 1\n  | ") {
			t.Errorf("of %q it says\n%s", said, text)
		}
	}
}

func TestOnlyTheLastLinesOfAToolAreShown(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.Exec = func(_ context.Context, _ Command, line func(string)) error {
		line("THESE PACKAGES DO NOT MATCH THE HASHES")
		for range 30 {
			line("Progress 1 of 2")
			line("WARNING: Retrying (...)")
			line("Expected sha256 0000")
		}
		return errors.New("exit code 1")
	}
	err := b.tool(t.Context(), "pip", Command{}, nil)
	if n := strings.Count(err.Error(), "\n"); n != lastLines || strings.Contains(err.Error(), "Progress") ||
		!asTool(err).says("DO NOT MATCH") {
		t.Errorf("%d lines: %v", n, err)
	}
}

func TestABuildHasTheCallersSettingsAndNotTheirTraps(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.Environ = []string{
		"PIP_INDEX_URL=https://pypi.example.com", "https_proxy=http://proxy", "PYTHONPATH=/evil",
		"GIT_DIR=/other", "VIRTUAL_ENV=/venv", "LC_ALL=de_DE", "PYTHONHASHSEED=7", "PATH=/a",
		"GIT_SSH_COMMAND=ssh -i key",
	}
	env := b.environment("PATH=/b")
	for name, want := range map[string]string{
		"PIP_INDEX_URL": "https://pypi.example.com",
		"https_proxy":   "http://proxy", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PATH": "/b",
		"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -i key",
	} {
		if got, _ := lookup(env, name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	seen := make(map[string]bool)
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if seen[name] || slices.Contains(gone, name) {
			t.Errorf("%s is there", e)
		}
		seen[name] = true
	}
}

func TestTheIndexesOfAUVLockAreKnown(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "uv.lock", `
[[package]]
name = "a"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "b"
source = { registry = "https://pypi.example.com/simple" }
[[package]]
name = "c"
source = { registry = "https://pypi.example.com/simple" }
[[package]]
name = "d"
source = { virtual = "." }
`)
	if got, err := registries(filepath.Join(dir, "uv.lock")); err != nil ||
		!slices.Equal(got, []string{"https://pypi.example.com/simple"}) {
		t.Errorf("they are %q (%v)", got, err)
	}
}

func TestALockIsFoundInTheOrderInWhichPeopleUseThem(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "requirements.txt", "", "a.py", "")
	find := func(lock string) (*builder, error) {
		b := newBuilder(t, dir)
		b.Lock = lock
		mustRead(t, b)
		return b, b.locks().find()
	}
	for _, want := range []string{requireText, pylockTOML, uvLock} {
		write(t, dir, want, "")
		git(t, dir, "add", "-A")
		if b, err := find(""); err != nil || b.lock.name != want || b.lock.kind != want {
			t.Errorf("it is %+v (%v), not %s", b.lock, err, want)
		}
	}
	write(t, dir, "requirements/pylock.prod.toml", "")
	_, err := find("requirements/pylock.prod.toml")
	const untracked = "requirements/pylock.prod.toml exists, but is not one of the project's files: " +
		"run git add requirements/pylock.prod.toml, or add it to [build] files"
	if err == nil || err.Error() != untracked {
		t.Errorf("it says %v", err)
	}
	git(t, dir, "add", "-A")
	if b, err := find("requirements/pylock.prod.toml"); err != nil || b.lock.kind != pylockTOML {
		t.Errorf("it is %+v (%v)", b.lock, err)
	}
	if _, err := find("poetry.lock"); err == nil || err.Error() != "no lock file poetry.lock in "+dir {
		t.Errorf("it says %v", err)
	}
	git(t, dir, "rm", "-q", "-f", "uv.lock", "pylock.toml", "requirements.txt")
	if _, err := find(""); err == nil ||
		!strings.HasPrefix(err.Error(),
			"no lock file in "+dir+": create uv.lock (uv lock), pylock.toml") {
		t.Errorf("it says %v", err)
	}
}

func TestDependenciesWithoutAHashAreNamed(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.lock = lock{name: "requirements.txt", kind: requireText, list: []requirement{
		{Line: "flask==3.1", Where: "requirements.txt (line 1)", Applies: true},
		{Line: "django==5.2", Where: "requirements.txt (line 2)", Applies: true, Hashed: true},
		{Line: "colorama==1", Where: "requirements.txt (line 3)"},
		{Line: "./lib", Where: "requirements.txt (line 4)", Applies: true, Path: "/x/lib"},
	}}
	if err := b.locks().checkPins(); err != nil || len(b.result.Warnings) != 1 ||
		!strings.HasPrefix(b.result.Warnings[0],
			"1 dependency has no hash, so the next build may get other files: flask==3.1 (requirements.txt (line 1)). ") {
		t.Errorf("it warns %q (%v)", b.result.Warnings, err)
	}
	b.RequirePinned = true
	if err := b.locks().checkPins(); err == nil ||
		!strings.HasPrefix(err.Error(),
			"--require-pinned: 1 dependency has no hash: flask==3.1 (requirements.txt (line 1)).\npip-compile") {
		t.Errorf("it says %v", err)
	}
	b.lock.kind = uvLock // which says all there is
	if err := b.locks().checkPins(); err != nil {
		t.Error(err)
	}
}

func TestABundleOfACommitIsNotReplacedByAnotherOfItsName(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	target := filepath.Join(t.TempDir(), "shop-1.tar.zst")
	replaces := func(sum string) (bool, error) { return b.replaces(target, sum) }
	if yes, err := replaces("new"); err != nil || !yes {
		t.Errorf("%t %v", yes, err)
	}
	old := &bundle.Manifest{Name: "shop", Version: "1", Python: bundle.Python{Version: "3.11.2"}}
	f, err := os.Create(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(bundle.Write(f, old, nil), f.Close()); err != nil {
		t.Fatal(err)
	}
	_, sum, err := bundle.Sum(target)
	if err != nil {
		t.Fatal(err)
	}
	b.source.git = true
	b.result.Manifest = &bundle.Manifest{Python: bundle.Python{Version: "3.11.7"}}
	if yes, err := replaces(sum); err != nil || yes {
		t.Errorf("%t %v", yes, err)
	}
	want := target +
		` already exists and differs (its Python is "3.11.2", that of this build "3.11.7"): ` +
		`use --force to replace it, or --version to give this one another name`
	if yes, err := replaces("new"); yes || err == nil || err.Error() != want {
		t.Errorf("%t %v", yes, err)
	}
	b.source.dirty = true
	if yes, err := replaces("new"); err != nil || !yes {
		t.Errorf("%t %v", yes, err)
	}
	b.source.dirty, b.Force = false, true
	if yes, err := replaces("new"); err != nil || !yes {
		t.Errorf("%t %v", yes, err)
	}
}

func TestWhatDiffersInTwoBundlesIsNamed(t *testing.T) {
	one := func(path, sum string) bundle.Member { return bundle.Member{Path: path, SHA256: sum} }
	old := &bundle.Manifest{Members: []bundle.Member{one("project/a", "1"), one("project/b", "1"), one("project/c",
		"1")}}
	now := &bundle.Manifest{Members: []bundle.Member{one("project/a", "1"), one("project/b", "2"), one("project/d",
		"1")}}
	if got := otherwise(old, now); got != " (in project/b, project/c, project/d)" {
		t.Errorf("it says%s", got)
	}
	if got := otherwise(old, old); got != " (in what its manifest says)" {
		t.Errorf("it says%s", got)
	}
}
