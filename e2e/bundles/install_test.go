package bundles

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"superctl/e2e/harness"
)

// small builds a project without dependencies, whose bundle installs quickly.
func small(t *testing.T, version string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir,
		append(
			[]string{
				"requirements.txt", "", "app.py", "VERSION = '" + version + "'\n", "pkg/__init__.py", "",
				"superctl.toml", "app = \"small\"\n[process.web]\ncommand = \"true\"\n",
			}, more...)...)
	commit(t, dir)
	return build(t, 0, cache(), dir, "--version", version, "-o", t.TempDir()).File
}

// site returns an app whose releases are installed from bundles of that name.
func site(t *testing.T, bundles string, options harness.Options) *harness.App {
	t.Helper()
	options.More += fmt.Sprintf("\n[install]\nname = %q\npython = %q\n", bundles, python(t))
	if options.Server.Command == "" {
		options.Server = harness.GunicornThreads() // a bundle has the project whole
	}
	a := harness.New(t, run, options)
	t.Cleanup(func() { removable(t, a.Path("releases")) })
	return a
}

// removable makes read-only directories removable by their owner.
func removable(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	}))
}

// listed returns the names in the directory of releases.
func listed(t *testing.T, a *harness.App) string {
	t.Helper()
	entries, err := os.ReadDir(a.Path("releases"))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestAnInstallKilledAtAnyMomentLeavesNoPartialRelease kills 50 installs. Each finds what the
// previous one left.
func TestAnInstallKilledAtAnyMomentLeavesNoPartialRelease(t *testing.T) {
	t.Parallel()
	file := small(t, "1.0")
	a := site(t, "small", harness.Options{})
	began := time.Now()
	a.Command("install", file).Want(0).Says("is installed in")
	whole := time.Since(began)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d; an install takes %s", seed, whole)
	random := rand.New(rand.NewPCG(seed, 0))
	killed, finished := 0, 0
	for killed < 50 {
		if strings.Contains(listed(t, a), " 1.0") {
			removable(t, a.Path("releases"))
			must(t, os.RemoveAll(a.Path("releases", "1.0")))
		}
		cmd := a.Begin("install", file)
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole))), cmd.Kill)
		cmd.Wait()
		timer.Stop()
		there := strings.Contains(listed(t, a), " 1.0")
		switch {
		case cmd.Code == -1:
			killed++
		case cmd.Code != 0 || !there:
			t.Fatalf("%s: exit code %d\n%s", cmd, cmd.Code, cmd.Text())
		default:
			finished++
			whole = min(whole, cmd.Ended.Sub(cmd.Began)) // the first one may have run on a busy machine
		}
		if there {
			a.Command("verify", "1.0").Want(0).Says("1.0 is unchanged")
		}
		if list := a.Command("releases", "--json").Want(0).Stdout(); strings.Contains(list, "partial") ||
			!there && strings.TrimSpace(list) != "[]" {
			t.Fatalf("a release that is not whole is listed: %s", list)
		}
	}
	t.Logf("%d were killed, %d were faster", killed, finished)
	a.Command("install", file).Want(0)
	a.Command("verify").Want(0).Says("1.0 is unchanged")
	if got := listed(t, a); got != ".superctl 1.0" {
		t.Errorf("left: %s", got)
	}
}

// TestNothingOfABundleRunsAsRoot has a smoke test, and a wheel with a .pth file that runs at each
// start of an interpreter that sees it.
func TestNothingOfABundleRunsAsRoot(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "marker")
	must(t, os.WriteFile(marker, nil, 0o666))
	must(t,
		errors.Join(os.Chmod(marker, 0o666), os.Chmod(filepath.Dir(marker), 0o755),
			os.Chmod(filepath.Dir(filepath.Dir(marker)), 0o755)))
	note := fmt.Sprintf("open(%q, 'a').write(f'{os.getuid()} ')", marker)
	pth := strings.Replace(backend, `"own.py": ORIGIN,`,
		fmt.Sprintf("\"own.py\": '',\n            \"own.pth\": %q,", "import os; "+note+"\n"), 1)
	file := small(t, "1.0", "pyproject.toml", ownProject, "backend.py", pth, "requirements.txt", "", "sitecustomize.py",
		"import os; "+note,
		"superctl.toml", "app = \"small\"\n[build]\npackage = true\nsmoke = [\"python -c 'import "+
			"app'\"]\n[process.web]\ncommand = \"true\"\n")
	a := site(t, "small", harness.Options{Top: "user = \"nobody\""})
	a.Command("install", file).Want(0)
	text, err := os.ReadFile(marker)
	must(t, err)
	uids := strings.Fields(string(text))
	if len(uids) < 2 {
		t.Errorf("the .pth file ran %d times, so the test proves nothing", len(uids))
	}
	for _, uid := range uids {
		if uid == "0" {
			t.Errorf("the bundle ran as root: %s", text)
		}
	}
}

// TestAnUnprivilegedUserCanInstall runs as a user who owns only his directory, without a network.
func TestAnUnprivilegedUserCanInstall(t *testing.T) {
	t.Parallel()
	file := small(t, "1.0", "data/x", "1")
	must(t, errors.Join(os.Chmod(filepath.Dir(file), 0o755), os.Chmod(filepath.Dir(filepath.Dir(file)), 0o755)))
	a := site(t, "small", harness.Options{})
	const uid = 65534
	for _, dir := range []string{"releases", "state", "run"} {
		must(t, os.Chown(a.Path(dir), uid, uid))
	}
	as := func(args ...string) (string, int) {
		cmd := exec.Command("unshare", append([]string{"--user", "--net", run.Binary}, args...)...)
		cmd.Dir, cmd.Env = "/", []string{"SUPERCTL_CONFIG=" + a.Config, "PATH=/usr/bin:/bin", "HOME=/"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	// A killed install leaves read-only directories, too.
	must(t, os.MkdirAll(a.Path("releases", ".1.0.partial", "a", "b"), 0o755))
	for _, dir := range []string{"a/b", "a", ""} {
		path := a.Path("releases", ".1.0.partial", dir)
		must(t, errors.Join(os.Chown(path, uid, uid), os.Chmod(path, 0o555)))
	}
	for i, want := range []string{"is installed in", "is already installed"} {
		if out, code := as("install", file); code != 0 || !strings.Contains(out, want) {
			t.Fatalf("install %d: exit code %d\n%s", i, code, out)
		}
	}
	if out, code := as("verify"); code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	st, err := os.Stat(a.Path("releases", "1.0", "app.py"))
	must(t, err)
	if owner := st.Sys().(*syscall.Stat_t).Uid; owner != uid || st.Mode() != 0o444 {
		t.Errorf("app.py is %v of %d", st.Mode(), owner)
	}
}

// TestAFullDiskLeavesNothing has a smoke test that fills the disk, so that it is full at an
// unexpected point.
func TestAFullDiskLeavesNothing(t *testing.T) {
	t.Parallel()
	a := site(t, "small", harness.Options{})
	dir, ballast := a.Path("releases"), a.Path("releases", "ballast")
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m,mode=755"))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filling := small(t, "1.0", "superctl.toml",
		fmt.Sprintf("app = \"small\"\n[build]\nsmoke = [[\"sh\", \"-c\", \"head -c 1G /dev/zero >%s; "+
			"true\"]]\n[process.web]\ncommand = \"true\"\n", ballast))
	a.Command("install", filling).Want(1).Says("no space left on device", "nothing was installed")
	if got := listed(t, a); got != ".superctl ballast" {
		t.Errorf("left: %s", got)
	}
	a.Command("install", filling).Want(1).Says("fetch: not enough space for the bundle in "+dir, "MB are needed, ",
		"B are free", "superctl prune")
	must(t, os.Remove(ballast))
	a.Command("install", small(t, "1.0")).Want(0)
	a.Command("verify").Want(0)
}

func TestTwoInstallsExcludeEachOther(t *testing.T) {
	t.Parallel()
	a := site(t, "small", harness.Options{})
	fifo := a.Path("fifo")
	must(t, syscall.Mkfifo(fifo, 0o666))
	t.Cleanup(func() { must(t, os.Remove(fifo)) })
	file := small(t, "1.0", "superctl.toml",
		fmt.Sprintf("app = \"small\"\n[build]\nsmoke = [[\"cat\", %q]]\n[process.web]\ncommand = \"true\"\n", fifo))
	first := a.Begin("install", file)
	first.Await("compile") // the smoke test then waits for a writer
	a.Command("install", file).Want(4).Says("superctl install, pid", "try again")
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	must(t, err)
	must(t, w.Close())
	if first.Wait().Want(0); listed(t, a) != ".superctl 1.0" {
		t.Error(listed(t, a))
	}
}
