package bundles

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"superctl/api"
	"superctl/e2e/harness"
	"superctl/load"
)

// deployed is the output of `deploy --json`.
type deployed struct {
	Changed, Installed  bool
	Outcome             string
	Release, Previous   string
	Pruned              []string
	Error, Bundle, Kind string
	Generation          int
	Steps               []struct{ Name string }
	Log                 []string
	Packages            *api.PackageChanges
}

// offline runs a superctl command of the app in a network namespace without a route, and checks its
// exit code.
func offline(t *testing.T, a *harness.App, code int, args ...string) (d deployed) {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--net", run.Binary}, append(args, "--json")...)...)
	cmd.Dir, cmd.Env = a.Dir, []string{"SUPERCTL_CONFIG=" + a.Config, "PATH=/usr/bin:/bin", "HOME=" + a.Dir}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, _ := cmd.Output()
	if bad := json.Unmarshal(out, &d); cmd.ProcessState.ExitCode() != code || bad != nil {
		t.Fatalf("%s: exit code %d, want %d (%v)\n%s%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), code,
			bad, out, stderr.String())
	}
	return d
}

// TestADirectoryIsBuiltAndDeployed: on a server that is its own build machine, one command is enough. It
// may end as soon as the switch has begun.
func TestADirectoryIsBuiltAndDeployed(t *testing.T) {
	dir := t.TempDir()
	djangoProject(t, dir)
	a := site(t, "djangoshop", harness.Options{})
	a.Start("")
	env := []string{"SUPERCTL_CACHE=" + cache(), "TMPDIR=" + t.TempDir()}
	deploy := func(code int, words ...string) string {
		t.Helper()
		cmd := exec.Command(run.Binary, append([]string{"--config", a.Config, "deploy"}, words...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code {
			t.Fatalf("deploy %s: exit code %d, want %d\n%s", strings.Join(words, " "), cmd.ProcessState.ExitCode(), code, out)
		}
		return string(out)
	}
	if out := deploy(0, "."); !strings.Contains(out, "is live") {
		t.Error(out)
	}
	live := a.Status().Release
	if out := deploy(0, dir); !strings.Contains(out, "nothing to do") {
		t.Error(out)
	}
	pipe := a.Path("pipe")
	must(t, unix.Mkfifo(pipe, 0o600))
	word, err := os.OpenFile(pipe, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(word.Close(), os.Remove(pipe))) })
	a.Options.More += "[hooks]\nbefore = [[\"sh\", \"-c\", \"echo migrating; read word <" + pipe + "\"]]\n"
	a.WriteConfig()
	write(t, dir, "news.txt", "two\n")
	commit(t, dir)
	if out := deploy(0, ".", "--detach"); !strings.Contains(out, "continues in the daemon") || a.Status().Release != live {
		t.Errorf("%s is live: %s", a.Status().Release, out)
	}
	follower := a.Begin("attach")
	follower.Await("migrating")
	_, err = word.WriteString("go\n")
	must(t, err)
	follower.Wait().Want(0).Says("is live (was " + live + ")")
	live = a.Status().Release
	write(t, dir, "requirements.txt", "no-such-package==1\n")
	commit(t, dir)
	if out := deploy(1, "."); !strings.Contains(out, "no-such-package") || a.Status().Release != live {
		t.Errorf("%s is live: %s", a.Status().Release, out)
	}
	for _, words := range [][]string{{"none.tar.zst", "--json"}, {"none.tar.zst", "--plan", "--json"}, {".", "--json"}} {
		var refused struct {
			Who, Previous string
			Commit        string `json:"previous_commit"`
			Step          string `json:"failed_step"`
		}
		must(t, json.Unmarshal([]byte(deploy(1, words...)), &refused))
		if refused.Who == "" || refused.Previous != live || refused.Commit == "" || refused.Step != map[string]string{"none.tar.zst": "fetch", ".": "wheels"}[words[0]] {
			t.Errorf("deploy %v: %+v", words, refused)
		}
	}
	if left, err := os.ReadDir(strings.TrimPrefix(env[1], "TMPDIR=")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// TestDeploysWithoutANetworkLoseNoRequest deploys a Django site with compiled dependencies: built
// once, installed without a network, switched under load, rolled back, pruned, refused.
func TestDeploysWithoutANetworkLoseNoRequest(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	djangoProject(t, dir)
	files := make(map[string]string)
	for _, version := range []string{"1.0", "2.0", "bad"} {
		if version == "bad" {
			write(t, dir, "shop/wsgi.py", "import shop_payments\n")
			commit(t, dir)
		}
		files[version] = build(t, 0, cache(), dir, "--version", version, "-o", out).File
	}
	requirements, err := os.ReadFile(filepath.Join(dir, "requirements.txt"))
	must(t, err)
	before, after, _ := strings.Cut(string(requirements), "gunicorn==")
	_, after, _ = strings.Cut(after, "pillow==")
	write(t, dir, "requirements.txt", before+"pillow=="+after)
	commit(t, dir)
	files["less"] = build(t, 0, cache(), dir, "--version", "less", "-o", out).File
	a := site(t, "djangoshop", harness.Options{Top: "keep = 1"})
	if a.Command("deploy", files["1.0"]).Want(3); listed(t, a) != "" {
		t.Errorf("without a daemon there is %s", listed(t, a))
	}
	a.Start("")
	if d := offline(t, a, 0, "deploy", files["1.0"], "--dry-run"); !d.Changed || d.Installed || d.Release != "1.0" ||
		listed(t, a) != ".superctl" { // which has the lock
		t.Errorf("a dry run: %+v, and there is %s", d, listed(t, a))
	}
	if d := offline(t, a, 0, "deploy", files["1.0"]); !d.Changed || !d.Installed || d.Outcome != "done" ||
		d.Release != "1.0" || d.Kind != "deploy" || d.Bundle == "" {
		t.Fatalf("%+v", d)
	}
	planned := offline(t, a, 0, "deploy", files["less"], "--plan")
	differ := &api.PackageChanges{Removed: []api.PackageChange{{Name: "gunicorn", From: "27.0.1"}}}
	if diff := cmp.Diff(differ, planned.Packages); !planned.Changed || planned.Installed || planned.Previous != "1.0" || diff != "" {
		t.Errorf("the plan of another deploy: %+v: %s", planned, diff)
	}
	requests := a.Load(load.Config{Rate: 40, Clients: 8})
	if d := offline(t, a, 0, "deploy", files["1.0"]); d.Changed || d.Installed {
		t.Errorf("once more: %+v", d)
	}
	if d := offline(t, a, 1, "deploy", files["bad"]); !d.Changed || !d.Installed || d.Outcome != "aborted" ||
		d.Release != "bad" || d.Previous != "1.0" || len(d.Log) == 0 {
		t.Errorf("%+v", d)
	}
	two := offline(t, a, 0, "deploy", files["2.0"])
	if !two.Changed || two.Previous != "1.0" || strings.Join(two.Pruned, " ") != "bad" ||
		two.Steps[0].Name != "fetch" || two.Steps[len(two.Steps)-1].Name != "prune" {
		t.Errorf("%+v", two)
	}
	a.Command("verify", "live").Want(0).Says("2.0 is unchanged")
	a.Command("rollback").Want(0)
	a.Lossless(requests)
	a.Command("verify").Want(0) // running it has changed nothing
	must(t, os.Chmod(a.Path("releases", "2.0", "manage.py"), 0o755))
	a.Command("verify", "2.0").Want(1).Says("changed  manage.py (mode 0755 instead of 0444)")
	if got := listed(t, a); got != ".superctl 1.0 2.0" {
		t.Errorf("there is %s", got)
	}
}
