package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fabfile is the one of the docs.
const fabfile = `from superctl_fabric import back, deploy, environment, finish, history, logs, rollback, status, switch

production = environment("production")
staging = environment("staging")
`

// fabric are Fabric's Python, and the directory with the tasks, as `make dist` builds them.
type fabric struct{ python, tasks string }

var fabricOnce = sync.OnceValues(installFabric)

// pinned returns the directory of the Python packages that scripts/deps installs for one option.
func pinned(option string) (string, error) {
	deps := exec.Command(filepath.Join(repository(), "scripts", "deps"), "--no-apt", option)
	deps.Stderr = os.Stderr
	out, err := deps.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/deps %s: %w", option, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func repository() string { return filepath.Join(sources(), "..", "..") }

func installFabric() (fabric, error) {
	dir, err := pinned("--fabric")
	if err != nil {
		return fabric{}, err
	}
	f := fabric{filepath.Join(dir, "bin", "python"), filepath.Join(run.Dir, "fabric")}
	pip := exec.Command(f.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
		"--no-build-isolation", "--target", f.tasks, filepath.Join(repository(), "packaging", "fabric"))
	if out, err := pip.CombinedOutput(); err != nil {
		return fabric{}, fmt.Errorf("install packaging/fabric: %w\n%s", err, out)
	}
	return f, nil
}

// fabrication is an operator who runs fab in a project.
type fabrication struct {
	*operator
	fabric
	project string
}

// newFabrication makes a project with git, whose branch my-branch has the site; the
// working tree has a broken one.
func newFabrication(t *testing.T) *fabrication {
	t.Helper()
	f := &fabrication{operator: newOperator(t)}
	tools, err := fabricOnce()
	must(t, err)
	f.fabric = tools
	f.project = filepath.Join(f.dir, app)
	must(t, os.Mkdir(f.project, 0o755))
	must(t, os.Rename(f.config, filepath.Join(f.project, "superctl.fleet.toml")))
	python, err := filepath.EvalSymlinks(filepath.Join(run.Apps.Cache, "bin", "python"))
	must(t, err)
	for name, text := range map[string]string{
		"serve.py": server, "requirements.txt": "", "fabfile.py": fabfile,
		"superctl.toml": fmt.Sprintf("[build]\nname = %q\npython = %q\nlock = \"requirements.txt\"\n", app, python),
	} {
		must(t, os.WriteFile(filepath.Join(f.project, name), []byte(text), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(f.dir, "bin"), 0o755))
	must(t, os.Symlink(run.Binary, filepath.Join(f.dir, "bin", "superctl")))
	git := exec.Command("sh", "-ec", `git init -q; git add .; git -c user.name=anna -c user.email=anna@example.com commit -qm site
		git branch my-branch; echo "raise SystemExit" >serve.py`)
	git.Dir = f.project
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git: %v\n%s", err, out)
	}
	return f
}

// fab starts fab in the project.
func (f *fabrication) fab(args ...string) *Command {
	f.t.Helper()
	return f.f.Operator(f.t, append([]string{
		"env", "-C", f.project, "HOME=" + f.dir, "PYTHONPATH=" + f.tasks, "PATH=" + f.dir + "/bin:" + os.Getenv("PATH"),
		f.python, "-m", "fabric",
	}, args...)...)
}

func TestFabDeploysABranchAndGoesBack(t *testing.T) {
	f := newFabrication(t)
	f.fab("production", "deploy", "--branch", "my-branch").Want(0)
	live := f.f.Hosts[0].Status(t).Release
	f.f.wantLive(t, strings.Join([]string{live, live, live}, " "))
	f.fab("production", "status", "rollback").Want(0).Says(live + " on 3 hosts")
	f.f.wantLive(t, "1 1 1")
}

func TestFabEndsWithTheExitCodeOfSuperctl(t *testing.T) {
	f := newFabrication(t)
	f.f.Hosts[1].Fault(t, "2", "refuse")
	f.fab("production", "switch", "2", "status").Want(1).Says("2 refuses to start on web2")
	f.f.idle(t)
	f.f.wantGeneration(t, 1)
}

func TestTheTasksOfFabCallSuperctl(t *testing.T) {
	unittests(t, "fabric")
}

// unittests runs the Python tests of a directory of packaging, with what scripts/deps installs for it.
func unittests(t *testing.T, of string) {
	t.Helper()
	deps, err := pinned("--" + of)
	must(t, err)
	dir := filepath.Join(repository(), "packaging", of)
	tests := exec.Command(filepath.Join(deps, "bin", "python"), "-m", "unittest", "discover", "-s", filepath.Join(dir, "tests"))
	tests.Env = append(os.Environ(), "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1")
	if out, err := tests.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
