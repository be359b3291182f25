package install

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

func TestTheCompilerIsBoundedInMemory(t *testing.T) {
	dir := t.TempDir()
	huge := "x = " + strings.Repeat("f(1, [2, {3: 4}]) + ", 30_000) + "1\n"
	must(t, os.WriteFile(filepath.Join(dir, "huge.py"), []byte(huge), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "small.py"), []byte("x = 1\n"), 0o644))
	out, err := exec.Command("python3", "-I", "-c", compileProgram, "60000000", "-q", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "*** ") || !strings.Contains(string(out), "huge.py") {
		t.Errorf("%v: %s", err, out)
	}
	made, err := os.ReadDir(filepath.Join(dir, "__pycache__"))
	if err != nil || len(made) != 1 || !strings.HasPrefix(made[0].Name(), "small.") {
		t.Errorf("%v, %v", made, err)
	}
}

func TestWhatTheAppsUserMakesIsCopiedAndNothingElse(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // independent of the umask
	made, release := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(made, "bin"), 0o777))
	must(t, os.WriteFile(filepath.Join(made, "bin", "activate"), []byte("x"), 0o666))
	must(t, os.WriteFile(filepath.Join(made, "bin", "tool"), nil, 0o777))
	must(t, os.Symlink("/usr/bin/python3", filepath.Join(made, "bin", "python")))
	from, err := beneath.Open(made)
	must(t, err)
	defer from.Close()
	root, err := os.OpenRoot(release)
	must(t, err)
	defer root.Close()
	in := &install{work: root}
	must(t, in.copyVirtualenv(from))
	for name, mode := range map[string]os.FileMode{"bin": 0o755, "bin/activate": 0o644, "bin/tool": 0o755} {
		if st, err := os.Stat(filepath.Join(release, venvDir, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	to, err := os.Readlink(filepath.Join(release, venvDir, "bin", "python"))
	if err != nil || to != "/usr/bin/python3" {
		t.Errorf("%s, %v", to, err)
	}
	must(t, os.RemoveAll(filepath.Join(release, venvDir)))
	must(t, unix.Mkfifo(filepath.Join(made, "fifo"), 0o666))
	if err := in.copyVirtualenv(from); err == nil || !strings.Contains(err.Error(), "fifo is neither a file") {
		t.Error(err)
	}
}

func TestCompiledFilesGoNextToTheirSources(t *testing.T) {
	made, release := t.TempDir(), t.TempDir()
	for _, name := range []string{
		"app.cpython-311.pyc", "pkg/x.cpython-311.pyc", "link/x.cpython-311.pyc", "none/x.cpython-311.pyc", "app.txt",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(made, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(made, name), []byte("new"), 0o644))
	}
	outside := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(release, "pkg", "__pycache__"), 0o755))
	old := filepath.Join(release, "pkg", "__pycache__", "x.cpython-311.pyc")
	must(t, os.WriteFile(old, []byte("of the bundle"), 0o644))
	must(t, os.Symlink(outside, filepath.Join(release, "link")))
	from, err := beneath.Open(made)
	must(t, err)
	defer from.Close()
	root, err := os.OpenRoot(release)
	must(t, err)
	defer root.Close()
	in := &install{work: root}
	must(t, in.copyCompiled(from))
	for _, name := range []string{"__pycache__/app.cpython-311.pyc", "pkg/__pycache__/x.cpython-311.pyc"} {
		if text, err := os.ReadFile(filepath.Join(release, name)); err != nil || string(text) != "new" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	found, err := filepath.Glob(release + "/*")
	there, bad := os.ReadDir(outside)
	if err != nil || bad != nil || len(found) != 3 || len(there) != 0 {
		t.Errorf("%v, %v, %v", found, there, err)
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
