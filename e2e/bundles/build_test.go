package bundles

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTwoBuildsOfACommitAreTheSameFile(t *testing.T) {
	t.Run("Django, requirements.txt with hashes", func(t *testing.T) {
		t.Parallel()
		first, second, out := t.TempDir(), filepath.Join(t.TempDir(), "a clone elsewhere"), t.TempDir()
		djangoProject(t, first)
		git(t, first, "clone", "-q", first, second)
		a := build(t, 0, cache(), first, "-o", out+"/made/", "--require-pinned")
		b := build(t, 0, cache(), second, "-o", filepath.Join(out, "b"), "--require-pinned")
		same(t, a.File, b.File)
		m, content := open(t, a.File)
		if a.Name != "djangoshop" || filepath.Base(a.File) != "djangoshop-"+a.Version+".tar.zst" ||
			!strings.HasPrefix(a.Version, "20251125-081655-"+m.Commit[:7]) {
			t.Errorf("%+v of commit %s", a, m.Commit)
		}
		for _, want := range []string{"cryptography", "django", "pillow", "psycopg_binary"} {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(m.wheels())),
				func(w string) bool { return strings.HasPrefix(w, want+"-") }) {
				t.Errorf("there is no wheel of %s: %v", want, m.wheels())
			}
		}
		files := m.project()
		if !slices.Contains(files, "static/logo.png") || !slices.Contains(files, "manage.py") ||
			slices.Contains(files, "left") || len(content["project/static/logo.png"]) == 0 {
			t.Errorf("the project has %v", files)
		}
		if m.Lock.Name != "requirements.txt" || !slices.Equal(m.Processes, []string{"web"}) || len(m.Smoke) != 2 ||
			m.Builder != "" || m.Python.Implementation != "cpython" {
			t.Errorf("the manifest says %+v", m)
		}
		if again := build(t, 0, cache(), first, "-o", out+"/made"); again.Changed || again.SHA256 != a.SHA256 ||
			!a.Changed {
			t.Errorf("the third build: %+v", again)
		}
	})
	// Each has its own cache, so that both build the project's own wheel.
	t.Run("Flask, uv.lock", func(t *testing.T) {
		t.Parallel()
		first, second, out := t.TempDir(), filepath.Join(t.TempDir(), "clone"), t.TempDir()
		flaskProject(t, first)
		git(t, first, "clone", "-q", first, second)
		a := build(t, 0, cache(), first, "-o", filepath.Join(out, "a"))
		b := build(t, 0, filepath.Join(out, "cache"), second, "-o", filepath.Join(out, "b"))
		same(t, a.File, b.File)
		m, _ := open(t, a.File)
		if m.Lock.Name != "uv.lock" || m.wheels()["shop-1.0-py3-none-any.whl"] == "" ||
			slices.ContainsFunc(slices.Collect(maps.Keys(m.wheels())),
				func(w string) bool { return strings.HasPrefix(w, "pytest") }) {
			t.Errorf("of %s it has %v", m.Lock.Name, m.wheels())
		}
	})
}

func TestEachKindOfLockFileGivesTheSameWheels(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	flaskProject(t, dir)
	var first map[string]string
	for _, lock := range []string{"uv.lock", "pylock.toml", "requirements.txt"} {
		b := build(t, 0, cache(), dir, "--lock", lock, "-o", filepath.Join(out, lock))
		m, _ := open(t, b.File)
		if first == nil {
			first = m.wheels()
		}
		if got := m.wheels(); m.Lock.Name != lock || len(got) < 8 || !maps.Equal(got, first) || len(b.Warnings) > 0 {
			t.Errorf("%s leads to %v with %q, and uv.lock to %v", lock, got, b.Warnings, first)
		}
	}
}

// TestAnUnchangedLockNeedsNoNetwork builds the next commit in a network namespace without a route.
func TestAnUnchangedLockNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	flaskProject(t, dir)
	build(t, 0, cache(), dir, "-o", out)
	write(t, dir, "src/shop/new.py", "")
	commit(t, dir)
	cmd := command(t, cache(), "build", dir, "--json", "--python", python(t), "-o", out)
	cmd.Path, cmd.Args = "/usr/bin/unshare", append([]string{"unshare", "--net", "--map-root-user"}, cmd.Args...)
	b := outcome(t, 0, cmd)
	if !b.Changed || !strings.HasSuffix(b.step("wheels"), ", from the cache") {
		t.Errorf("%+v", b)
	}
	if m, _ := open(t, b.File); !slices.Contains(m.project(), "src/shop/new.py") {
		t.Errorf("the project has %v", m.project())
	}
}

// backend is a build backend inside the project, which needs no network.
const backend = `
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "own-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as z:
        for path, text in {
            "own.py": ORIGIN,
            "own-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n",
            "own-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: own\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "own-1.0.dist-info/RECORD": "own.py,,\nown-1.0.dist-info/METADATA,,\nown-1.0.dist-info/WHEEL,,\nown-1.0.dist-info/RECORD,,\n",
        }.items():
            z.writestr(zipfile.ZipInfo(path), text)
    return name
`

const ownProject = `
[project]
name = "own"
version = "1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
`

func TestAPackageWhoseBuildIsNotDeterministicIsNamed(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	write(t, dir, "requirements.txt", "", "pyproject.toml", ownProject, "backend.py",
		strings.Replace(backend, "ORIGIN", "os.urandom(9)", 1))
	commit(t, dir)
	const want = "own-1.0-py3-none-any.whl was built from source, and its build is not deterministic: a second " +
		"build differs in own.py"
	first := build(t, 0, cache(), dir, "-o", out)
	second := build(t, 0, cache(), dir, "-o", out) // from the cache
	if !slices.Equal(first.Warnings, []string{want}) || !slices.Equal(second.Warnings, []string{want}) ||
		second.Changed {
		t.Errorf("it warns %q, then %q, changed %t", first.Warnings, second.Warnings, second.Changed)
	}
	write(t, dir, "backend.py", strings.Replace(backend, "ORIGIN", `os.environ["SOURCE_DATE_EPOCH"]`, 1))
	commit(t, dir)
	if b := build(t, 0, cache(), dir, "-o", out); len(b.Warnings) > 0 || b.Wheels != 1 {
		t.Errorf("%+v", b)
	}
}

func TestBuildCommandsSeeTheProjectAndItsDependencies(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	write(t, dir, "requirements.txt", "", "pyproject.toml", ownProject, "backend.py",
		strings.Replace(backend, "ORIGIN", `"x = 1"`, 1), "static/old.css", "replaced with the output",
		"superctl.toml", `
[build]
run = ["python make.py"]
output = ["static", "one/file"]
env = { STAGE = "live" }
`, "make.py", `
import os, own, pathlib, shutil, sys
assert sys.prefix == os.environ["VIRTUAL_ENV"], sys.prefix
print("made at", os.environ["SOURCE_DATE_EPOCH"], "for", os.environ["STAGE"])
shutil.rmtree("static")
pathlib.Path("static/deep").mkdir(parents=True)
pathlib.Path("static/deep/a.css").write_text("a")
pathlib.Path("one").mkdir()
pathlib.Path("one/file").write_text("one")
pathlib.Path("make.py").write_text("this change is left behind")
`)
	commit(t, dir)
	cmd := command(t, cache(), "build", dir, "--python", python(t), "-o", out+"/x.tar.zst", "--run",
		"python -c 'import own; print(own.x)'")
	text, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(text), "run | made at 1764058615 for live\n") ||
		!strings.Contains(string(text), "run | 1\n") {
		t.Fatalf("%v\n%s", err, text)
	}
	m, content := open(t, out+"/x.tar.zst")
	files := slices.DeleteFunc(m.project(), func(p string) bool { return !strings.Contains(p, "/") })
	if !slices.Equal(files, []string{"one/file", "static/deep/a.css"}) ||
		!strings.Contains(content["project/make.py"], "assert") {
		t.Errorf("the project has %v, and make.py is %q", files, content["project/make.py"])
	}
	if b := build(t, 1, cache(), dir, "-o", out+"/y.tar.zst", "--run",
		"python -c 'exit(3)'"); b.Error != `run: python -c exit\(3\): exit code 3` {
		t.Errorf("it says %s", b.Error)
	}
	if left, err := filepath.Glob(out + "/*"); err != nil || len(left) != 1 {
		t.Errorf("left is %v (%v)", left, err)
	}
}

func TestAnInterruptedBuildLeavesNothing(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	write(t, dir, "requirements.txt", "")
	commit(t, dir)
	must(t, exec.Command("mkfifo", out+"/begun").Run())
	cmd := command(t, cache(), "build", dir, "--python", python(t), "-o", out, "--run",
		"sh -c 'echo >"+out+"/begun; sleep 1000'")
	temp := cmd.Env[len(cmd.Env)-1]
	var said strings.Builder
	cmd.Stderr = &said
	must(t, cmd.Start())
	if _, err := os.ReadFile(out + "/begun"); err != nil { // blocks until the command has begun
		t.Fatal(err)
	}
	must(t, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 ||
		!strings.Contains(said.String(), "superctl: build: interrupted; nothing was written\n") {
		t.Errorf("%s: %s", cmd.ProcessState, said.String())
	}
	for _, d := range []string{strings.TrimPrefix(temp, "TMPDIR="), out} {
		if left, err := filepath.Glob(d + "/*"); err != nil || len(left) > 0 && d != out || len(left) > 1 {
			t.Errorf("left in %s is %v (%v)", d, left, err)
		}
	}
}

func TestAnOutdatedLockFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flaskProject(t, dir)
	project, err := os.ReadFile(filepath.Join(dir, "pyproject.toml"))
	must(t, err)
	write(t, dir, "pyproject.toml", strings.Replace(string(project), `"gunicorn"`, `"gunicorn", "six"`, 1))
	if b := build(t, 2, cache(), dir); !strings.Contains(
		b.Error, "uv.lock is outdated, it does not match pyproject.toml: run uv lock, check the changes and commit them") {
		t.Errorf("it says %s", b.Error)
	}
	cmd := command(t, cache(), "build", dir, "--json", "--python", python(t))
	cmd.Env = append(cmd.Env, "PATH=/usr/bin:/bin")
	if b := outcome(t, 2, cmd); !strings.Contains(
		b.Error, "uv.lock needs uv, which is not installed: install it (https://docs.astral.sh/uv") {
		t.Errorf("it says %s", b.Error)
	}
	write(t, dir, "requirements.txt", "itsdangerous==2.2.0 --hash=sha256:"+strings.Repeat("0", 64)+"\n")
	if b := build(t, 1, cache(), dir, "--lock", "requirements.txt"); !strings.Contains(
		b.Error, "the index has other files than those that requirements.txt was created with") {
		t.Errorf("it says %s", b.Error)
	}
	write(t, dir, "requirements.txt",
		"Flask==3.1.3 --hash=sha256:f4bcbefc124291925f1a26446da31a5178f9483862233b23c0c96a20701f670c\n")
	if b := build(t, 1, cache(), dir, "--lock", "requirements.txt"); !strings.Contains(
		b.Error, "requirements.txt has hashes, but not for all dependencies") {
		t.Errorf("it says %s", b.Error)
	}
	write(t, dir, "requirements.txt", "itsdangerous==2.2.0\n")
	if b := build(t, 2, cache(), dir, "--lock", "requirements.txt", "--require-pinned"); !strings.Contains(
		b.Error, "--require-pinned: 1 dependency has no hash: itsdangerous==2.2.0") {
		t.Errorf("it says %s", b.Error)
	}
}
