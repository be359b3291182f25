package install

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"aead.dev/minisign"

	"superctl/beneath"
	"superctl/releases"
	"superctl/releases/bundle"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// project is what a bundle is made of in these tests: paths in it with their contents. A content
// that begins with -> is a link.
type project map[string]string

// wheelOf creates a wheel with a module and a program of the same name.
func wheelOf(t *testing.T, name string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for file, text := range map[string]string{
		name + ".py":                             "def main():\n    print('" + name + " runs')\n",
		name + "-1.0.dist-info/WHEEL":            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
		name + "-1.0.dist-info/METADATA":         "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n",
		name + "-1.0.dist-info/entry_points.txt": "[console_scripts]\n" + name + " = " + name + ":main\n",
	} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: file, Method: zip.Store}) // the same bytes each time
		must(t, err)
		_, err = io.WriteString(w, text)
		must(t, err)
	}
	must(t, z.Close())
	return b.String()
}

// shop is a project with a dependency.
func shop(t *testing.T) project {
	return project{
		"project/app.py": "import tool\n", "project/static/logo.svg": "<svg/>", "project/logo": "->static/logo.svg",
		"project/template.py":              "{{ name }} =",
		"wheels/tool-1.0-py3-none-any.whl": wheelOf(t, "tool"),
	}
}

// write writes a bundle of the project.
func (p project) write(t *testing.T, path string, change func(*bundle.Manifest)) {
	t.Helper()
	m := here(t)
	for name, text := range p {
		e := bundle.Member{Path: name, Mode: 0o644, Size: int64(len(text))}
		if link, ok := strings.CutPrefix(text, "->"); ok {
			e = bundle.Member{Path: name, Link: link}
		} else {
			sum := sha256.Sum256([]byte(text))
			e.SHA256 = hex.EncodeToString(sum[:])
		}
		m.Members = append(m.Members, e)
	}
	if change != nil {
		change(m)
	}
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, bundle.Write(f, m, func(e bundle.Member) (io.ReadCloser,
		error,
	) {
		return io.NopCloser(strings.NewReader(p[e.Path])), nil
	}))
}

// here returns a manifest for the interpreter of this machine.
func here(t *testing.T) *bundle.Manifest {
	t.Helper()
	o := Options{Run: run}
	p, err := o.probe(t.Context(), "/usr/bin/python3")
	must(t, err)
	return &bundle.Manifest{
		Name: "shop", Version: "1.0", Commit: "4be9f00d4be9f00d4be9f00d4be9f00d4be9f00d",
		Built: time.Unix(1_700_000_000, 0),
		Python: bundle.Python{
			Implementation: p.Implementation, Version: p.Version, ABI: p.ABI, Platform: p.Platform,
			Libc: p.Libc,
		},
	}
}

// run runs a command as this user.
func run(ctx context.Context, c Command, line func(string)) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env = c.Dir, []string{
		"PATH=" + filepath.Join(c.Dir, "venv", "bin") + ":/usr/bin:/bin",
		"PYTHONDONTWRITEBYTECODE=1",
	}
	if path, err := exec.LookPath(filepath.Join(c.Dir, "venv", "bin", c.Args[0])); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	for l := range strings.Lines(string(out)) {
		line(strings.TrimSuffix(l, "\n"))
	}
	return err
}

// options returns options for a new directory of releases.
func options(t *testing.T) Options {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Cleanup(func() { // its directories are read-only
		remove(t, dir, "releases")
	})
	must(t, os.Mkdir(filepath.Join(dir, "releases"), 0o755))
	return Options{
		Store: &releases.Store{Dir: filepath.Join(dir, "releases")}, Search: "/usr/bin", Run: run,
		FirstWait: time.Millisecond,
	}
}

func sign(t *testing.T, path string, key minisign.PrivateKey) {
	t.Helper()
	_, sum, err := bundle.Sum(path)
	must(t, err)
	must(t, bundle.Sign(path, sum, key, "a test"))
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	root, err := beneath.Open(dir)
	must(t, err)
	defer root.Close()
	must(t, root.RemoveAll(context.Background(), name)) // t.Context() has ended when a test is cleaned up
}

// names returns the names in the directory of releases.
func names(t *testing.T, o Options) string {
	t.Helper()
	entries, err := os.ReadDir(o.Store.Dir)
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestAReleaseIsReadOnlyAndHasItsFinalPath(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // independent of the umask
	o := options(t)
	path := filepath.Join(t.TempDir(), "shop-1.0.tar.zst")
	shop(t).write(t, path, func(m *bundle.Manifest) { m.Smoke = [][]string{{"tool"}, {"python", "-c", "import app"}} })
	var events []string
	o.Event = func(e Event) {
		if e.Type == "end" || e.Type == "output" {
			events = append(events, e.Type+" "+e.Step)
		}
	}
	r, err := Install(t.Context(), path, o)
	if err != nil || !r.Changed || r.Release != "1.0" || len(r.Steps) != 9 || len(r.Warnings) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := strings.Join(events, ", "); got != "end fetch, end verify, end platform, end space, end unpack, "+
		"end virtualenv, end compile, output smoke, end smoke, end finish" {
		t.Error(got)
	}
	made, err := o.Store.Get(r.Path)
	must(t, err)
	if made.Broken != nil || made.Commit[:4] != "4be9" || made.Bundle != r.Bundle || made.Tree != r.Tree ||
		len(made.Env) != 0 || made.Size == 0 || time.Since(made.Installed) > time.Hour {
		t.Errorf("%+v", made)
	}
	must(t, made.Check(t.Context(), releases.CheckOptions{Run: func(ctx context.Context, args ...string) (string,
		error,
	) {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		return string(out), err
	}}))
	if out, err := exec.Command(filepath.Join(r.Path, "venv", "bin", "tool")).CombinedOutput(); err != nil ||
		string(out) != "tool runs\n" {
		t.Errorf("%v: %s", err, out)
	}
	must(t, filepath.WalkDir(r.Path, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		st, err := d.Info()
		must(t, err)
		if st.Mode().Type() != fs.ModeSymlink && st.Mode()&0o222 != 0 || st.Mode().Type() != fs.ModeSymlink &&
			st.Mode()&0o444 != 0o444 {
			t.Errorf("%s is %v", path, st.Mode())
		}
		if st.Mode().IsRegular() {
			if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte(".partial")) {
				t.Errorf("%s names the hidden directory (%v)", path, err)
			}
		}
		return nil
	}))
	if _, err := os.Stat(filepath.Join(r.Path, "__pycache__")); err != nil {
		t.Error(err)
	}
	if d, err := made.Verify(t.Context(), nil); err != nil || !d.Empty() {
		t.Errorf("%+v, %v", d, err)
	}
	if got := names(t, o); got != ".superctl 1.0" {
		t.Error(got)
	}
}

func TestAnInstalledBundleIsLeftAloneAndAnotherIsRefused(t *testing.T) {
	o := options(t)
	dir := t.TempDir()
	same, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	shop(t).write(t, same, nil)
	shop(t).write(t, other, func(m *bundle.Manifest) { m.Commit = "" })
	first, err := Install(t.Context(), same, o)
	must(t, err)
	before, err := os.Stat(first.Path)
	must(t, err)
	for _, warnings := range []int{0, 0, 1} {
		if warnings > 0 {
			must(t, os.Chmod(filepath.Join(first.Path, "app.py"), 0o644))
		}
		if r, err := Install(t.Context(), same, o); err != nil || r.Changed || r.Release != "1.0" ||
			r.Tree != first.Tree || len(r.Warnings) != warnings {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if r, err := Install(t.Context(), other, o); err == nil || r.Changed ||
		!strings.Contains(err.Error(), "from another bundle of commit 4be9f00d4b") {
		t.Errorf("%+v, %v", r, err)
	}
	if after, err := os.Stat(first.Path); err != nil || !os.SameFile(before, after) {
		t.Error(err)
	}
	must(t, os.Mkdir(filepath.Join(o.Store.Dir, "2.0"), 0o755))
	shop(t).write(t, other, func(m *bundle.Manifest) { m.Version = "2.0" })
	if _, err := Install(t.Context(), other, o); err == nil ||
		!strings.Contains(err.Error(), "which was not installed from a bundle") {
		t.Error(err)
	}
	if got := names(t, o); got != ".superctl 1.0 2.0" {
		t.Error(got)
	}
}

// TestTheSameBundleMakesTheSameTree checks that hashes of trees can be compared between machines.
func TestTheSameBundleMakesTheSameTree(t *testing.T) {
	o := options(t)
	path := filepath.Join(t.TempDir(), "b")
	shop(t).write(t, path, nil)
	first, err := Install(t.Context(), path, o)
	must(t, err)
	remove(t, o.Store.Dir, "1.0")
	if again, err := Install(t.Context(), path, o); err != nil || !again.Changed || again.Tree != first.Tree {
		t.Errorf("%v: %s, then %s", err, first.Tree, again.Tree)
	}
}

func TestABundleThatDoesNotFitIsRefused(t *testing.T) {
	native := func(tag string) func(project) {
		return func(p project) { p["wheels/native-1.0-"+tag+".whl"] = "" }
	}
	for name, c := range map[string]struct {
		make   func(project)
		change func(*bundle.Manifest)
		says   []string
	}{
		"another Python": {
			nil, func(m *bundle.Manifest) { m.Python.Version, m.Python.ABI = "3.7.1", "cp37" },
			[]string{
				"the bundle needs cpython 3.7 (cp37) on linux-x86_64", "/usr/bin/python3", "is cpython 3.1",
				"python in [install]",
			},
		},
		"another implementation": {
			nil, func(m *bundle.Manifest) { m.Python.Implementation = "pypy" }, []string{"needs pypy"},
		},
		"another machine": {
			nil, func(m *bundle.Manifest) { m.Python.Platform = "linux-s390x" }, []string{"on linux-s390x"},
		},
		"a newer C library": {
			nil, func(m *bundle.Manifest) { m.Python.Libc = "glibc 2.99" }, []string{
				"with glibc 2.99 or newer",
				"with glibc 2.",
			},
		},
		"another C library": {
			nil, func(m *bundle.Manifest) { m.Python.Libc = "musl 1.2" }, []string{"with musl 1.2 or newer"},
		},
		"a wheel for another machine": {
			native("cp311-cp311-manylinux_2_17_s390x"), nil,
			[]string{
				"the wheel native-1.0-cp311-cp311-manylinux_2_17_s390x.whl is for",
				"glibc 2.17 or newer on s390x", "and /usr/bin/python3",
			},
		},
		"a wheel for a newer C library": {
			native("py3-none-manylinux_2_99_x86_64"), nil, []string{"glibc 2.99 or newer"},
		},
		"a wheel for another Python": {native("cp37-cp37m-linux_x86_64"), nil, []string{"cp37-cp37m"}},
		"two versions of a distribution": {
			func(p project) { p["wheels/Tool-2.0-py3-none-any.whl"] = wheelOf(t, "tool") }, nil,
			[]string{"there are two wheels of tool, Tool-2.0-py3-none-any.whl and tool-1.0-py3-none-any.whl"},
		},
		"a wheel without a name": {
			func(p project) { p["wheels/x.whl"] = "" }, nil, []string{"invalid wheel name x.whl"},
		},
		"a wheel that is none": {
			func(p project) { p["wheels/x-1.0-py3-none-any.whl"] = "PK" }, nil,
			[]string{"x-1.0-py3-none-any.whl: it is not a zip archive"},
		},
		"no room": {
			nil, func(m *bundle.Manifest) {
				at := slices.IndexFunc(m.Members,
					func(e bundle.Member) bool { return e.Path == "wheels/tool-1.0-py3-none-any.whl" })
				m.Members[at].Unpacked = 1 << 50
			},
			[]string{
				"space: not enough space for the release in", "B are needed",
				"superctl prune removes old releases",
			},
		},
		"a wheel that has more than its manifest says": {nil, func(m *bundle.Manifest) {
			at := slices.IndexFunc(m.Members,
				func(e bundle.Member) bool { return e.Path == "wheels/tool-1.0-py3-none-any.whl" })
			m.Members[at].Unpacked = 10
		}, []string{"virtualenv: wheel tool-1.0-py3-none-any.whl: it contains ", "and the manifest says 10"}},
		"its own check fails": {
			nil, func(m *bundle.Manifest) { m.Smoke = [][]string{{"python", "-c", "print('no database'); exit(3)"}} },
			[]string{`smoke: "python -c`, "exit status 3"},
		},
		"its own check is missing": {
			nil, func(m *bundle.Manifest) { m.Smoke = [][]string{{"nobody"}} }, []string{`smoke: "nobody"`},
		},
		"its own check does not end": {
			nil, func(m *bundle.Manifest) { m.Smoke = [][]string{{"python", "-c", "while True: pass"}} },
			[]string{"smoke: "},
		},
		"its own check makes a change": {nil, func(m *bundle.Manifest) {
			m.Smoke = [][]string{{"sh", "-c", "chmod 755 .; echo > new; chmod 755 app.py"}}
		}, []string{"the bundle's check has changed the release: new, app.py (mode 0755 instead of 0444)"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.SmokeTime = 20 * time.Second
			if name == "its own check does not end" {
				o.SmokeTime = 100 * time.Millisecond
			}
			p := shop(t)
			if c.make != nil {
				c.make(p)
			}
			path := filepath.Join(t.TempDir(), "b")
			p.write(t, path, c.change)
			r, err := Install(t.Context(), path, o)
			if err == nil || r.Changed {
				t.Fatalf("%+v, %v", r, err)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is not in: %v", text, err)
				}
			}
			if got := names(t, o); got != ".superctl" {
				t.Errorf("left: %s", got)
			}
		})
	}
}

func TestLeftoversOfAKilledInstallAreRemoved(t *testing.T) {
	o := options(t)
	ended := false
	o.EndLeft = func() error { ended = true; return nil }
	for _, dir := range []string{".0.9.partial/venv", ".1.0.partial/venv", ".other"} {
		must(t, os.MkdirAll(filepath.Join(o.Store.Dir, dir), 0o755))
		must(t, os.Chmod(filepath.Join(o.Store.Dir, dir), 0o555))
	}
	path := filepath.Join(t.TempDir(), "b")
	shop(t).write(t, path, nil)
	_, err := Install(t.Context(), path, o)
	if got := names(t, o); err != nil || !ended || got != ".other .superctl 1.0" {
		t.Errorf("%v, %v, %s", err, ended, got)
	}
}

func TestOnlyBundlesSignedByATrustedKeyAreInstalled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	shop(t).write(t, path, nil)
	keys := make([]bundle.Key, 2)
	for i := range keys {
		public, private, err := bundle.GenerateKey("")
		must(t, err)
		keys[i], err = bundle.ParseKey(public)
		must(t, err)
		secret, err := bundle.PrivateKey(private, nil)
		must(t, err)
		copied := fmt.Sprintf("%s%d", path, i)
		must(t, os.Link(path, copied))
		sign(t, copied, secret)
	}
	o := options(t)
	o.Keys = keys[:1]
	unsigned := "it is not signed, and [trust] requires a signature of " + bundle.KeyID(keys[0].ID())
	untrusted := "it is signed with key " + bundle.KeyID(keys[1].ID())
	for file, says := range map[string]string{path: unsigned, path + "1": untrusted} {
		if _, err := Install(t.Context(), file, o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", file, err)
		}
	}
	r, err := Install(t.Context(), path+"0", o)
	if err != nil || !strings.Contains(r.Steps[1].Detail, bundle.KeyID(keys[0].ID())) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSharedPathsAreLinkedInBeforeTheCheck(t *testing.T) {
	o := options(t)
	media := t.TempDir()
	o.Shared = map[string]string{"static": media}
	path := filepath.Join(t.TempDir(), "b")
	shop(t).write(t, path, func(m *bundle.Manifest) {
		m.Smoke = [][]string{{
			"python", "-c",
			"open('static/made', 'w')",
		}}
	})
	r, err := Install(t.Context(), path, o)
	must(t, err)
	if to, err := os.Readlink(filepath.Join(r.Path, "static")); err != nil || to != media {
		t.Errorf("%s %v", to, err)
	}
	made, err := o.Store.Get(r.Path)
	must(t, err)
	if d, err := made.Verify(t.Context(), []string{"static"}); err != nil || !d.Empty() {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestRootIsWarnedIfOthersCanChangeReleases(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("of root alone")
	}
	dir := t.TempDir()
	for _, c := range []struct {
		owner int
		mode  fs.FileMode
		says  string
	}{
		{
			0, 0o755, "",
		}, {65534, 0o755, "belongs to nobody, who could change"}, {
			0, 0o775,
			"users other than root may write",
		}, {0, 0o777 | fs.ModeSticky, ""},
	} {
		if os.Geteuid() == 0 {
			must(t, os.Chown(dir, c.owner, c.owner))
		} else {
			c.says = ""
		}
		must(t, os.Chmod(dir, c.mode))
		if text := othersMayWrite(dir); (text == "") != (c.says == "") || !strings.Contains(text, c.says) {
			t.Errorf("%d %v: %s", c.owner, c.mode, text)
		}
	}
}

func TestAnInstallThatIsInterruptedLeavesNothing(t *testing.T) {
	for _, step := range []string{"verify", "unpack", "virtualenv", "compile", "smoke"} {
		o := options(t)
		path := filepath.Join(t.TempDir(), "b")
		shop(t).write(t, path, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("enough")
		o.Event = func(e Event) {
			if e.Type == "begin" && e.Step == step {
				cancel(stop)
			}
		}
		if _, err := Install(ctx, path, o); !errors.Is(err, stop) {
			t.Errorf("%s: %v", step, err)
		}
		if got := names(t, o); got != ".superctl" {
			t.Errorf("%s: left: %s", step, got)
		}
		o.Event = nil
		if r, err := Install(t.Context(), path, o); err != nil || !r.Changed {
			t.Errorf("%s, once more: %v", step, err)
		}
	}
}

func TestTheVerifiedFileIsTheOneInstalled(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "shop-1.0.tar.zst"), filepath.Join(dir, "other")
	shop(t).write(t, path, func(m *bundle.Manifest) { m.Smoke = [][]string{{"true"}} })
	shop(t).write(t, other, func(m *bundle.Manifest) {
		m.Commit = strings.Repeat("e",
			40)
		m.Smoke = [][]string{{"false"}}
	})
	evil, err := os.ReadFile(other)
	must(t, err)
	public, private, err := bundle.GenerateKey("")
	must(t, err)
	key, err := bundle.ParseKey(public)
	must(t, err)
	secret, err := bundle.PrivateKey(private, nil)
	must(t, err)
	sign(t, path, secret)
	o := options(t)
	o.Keys = []bundle.Key{key}
	o.Event = func(e Event) { // its owner rewrites the file in place, as soon as it is fetched
		if e.Type == "end" && e.Step == "fetch" {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			_, err = f.Write(evil)
			must(t, errors.Join(err, f.Close()))
		}
	}
	r, err := Install(t.Context(), path, o)
	must(t, err)
	if made, err := o.Store.Get(r.Path); err != nil || !strings.HasPrefix(made.Commit, "4be9") {
		t.Errorf("%+v, %v", made, err)
	}
}

func TestVariablesOfTheBuildDoNotReachWorkers(t *testing.T) {
	o := options(t)
	path := filepath.Join(t.TempDir(), "b")
	shop(t).write(t, path, func(m *bundle.Manifest) { m.Env = map[string]string{"SECRET_KEY": "dummy", "A": "b"} })
	r, err := Install(t.Context(), path, o)
	must(t, err)
	if made, err := o.Store.Get(r.Path); err != nil || len(made.Env) != 0 {
		t.Errorf("%v, %v", made.Env, err)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "variables of its build (A, SECRET_KEY), "+
		"which are not for workers") || strings.Contains(r.Warnings[0], "dummy") {
		t.Error(r.Warnings)
	}
}

func TestADryRunChecksABundleAndLeavesNothing(t *testing.T) {
	o := options(t)
	o.DryRun = true
	path := filepath.Join(t.TempDir(), "b")
	shop(t).write(t, path, nil)
	before := names(t, o)
	r, err := Install(t.Context(), path, o)
	if err != nil || r.Changed || r.There || r.Release != "1.0" || len(r.Steps) != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	if after := names(t, o); after != before && after != ".superctl" {
		t.Errorf("the directory of releases has %q, and had %q", after, before)
	}
	shop(t).write(t, path, func(m *bundle.Manifest) { m.Python.Version = "2.7" })
	if _, err := Install(t.Context(), path, o); err == nil || !strings.Contains(err.Error(), "2.7") {
		t.Errorf("for another Python: %v", err)
	}
}
