package install

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"superctl/releases"
	"superctl/releases/bundle"
)

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
			o.SmokeTime = time.Minute
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
