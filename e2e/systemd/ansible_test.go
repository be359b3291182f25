package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// smallServer needs nothing but Python. It answers on the listener that superctl gives it.
const smallServer = `import http.server
import socket


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket = socket.socket(fileno=3)


Server(("", 0), http.server.SimpleHTTPRequestHandler).serve_forever()
`

// smallConfig is the config of a site of it.
const smallConfig = `app       = "shop"
releases  = "/srv/shop/releases"
current   = "/srv/shop/current"
probation = "0s"

[listen.web]
address = "ADDRESS"

[process.web]
command = "python serve.py"
listen  = ["web"]
[process.web.health]
path = "/"
`

// bareMachine is one on which nothing of superctl is installed. In /root/deploy are its sources, a config, and bundles that work, or
// do not when they are called broken.
func bareMachine(t *testing.T, deployed string, bundles ...string) *Sandbox {
	t.Helper()
	if why := Unavailable(); why != "" {
		t.Skip(why)
	}
	t.Parallel()
	dir, err := os.MkdirTemp(run.Dir, "sd")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	files := filepath.Join(dir, "deploy")
	must(t, os.Mkdir(files, 0o755))
	must(t, os.WriteFile(filepath.Join(files, "shop.toml"), []byte(strings.Replace(smallConfig, "ADDRESS", FreeAddress(t), 1)), 0o644))
	for _, version := range bundles {
		code := smallServer
		if version == "broken" {
			code = "import nothing_that_is_there\n"
		}
		smallBundle(t, files, version, code)
	}
	packaging := filepath.Join(sources(), "..", "..", "packaging")
	return Boot(t, dir, false,
		Bind{From: run.Binary, To: "/root/superctl/bin/superctl"}, Bind{From: packaging, To: "/root/superctl/packaging"},
		Bind{From: files, To: "/root/deploy", Writable: true}, Bind{From: deployed, To: deployed})
}

// smallBundle builds shop-VERSION.tar.zst for the interpreter that all servers run on.
func smallBundle(t *testing.T, into, version, code string) {
	t.Helper()
	project := t.TempDir()
	for name, text := range map[string]string{"serve.py": code, "requirements.txt": "", "pyproject.toml": "[project]\nname = \"shop\"\nversion = \"0\"\n"} {
		must(t, os.WriteFile(filepath.Join(project, name), []byte(text), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(project, "superctl.toml"), []byte("[build]\nfiles = [\"serve.py\", \"requirements.txt\"]\nlock = \"requirements.txt\"\n"), 0o644))
	python, err := filepath.EvalSymlinks(filepath.Join(run.Apps.Cache, "bin", "python"))
	must(t, err)
	if out, err := exec.Command(run.Binary, "build", "--name", "shop", "--version", version, "--python", python, "--output", into, project).CombinedOutput(); err != nil {
		t.Fatalf("superctl build: %v\n%s", err, out)
	}
}

// programs is the directory of what scripts/deps installs for that argument.
func programs(t *testing.T, what string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(sources(), "..", "..", "scripts", "deps"), "--no-apt", what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

func TestTheAnsiblePlaybooksDeployAndChangeNothingTheSecondTime(t *testing.T) {
	ansible := programs(t, "--ansible")
	s := bareMachine(t, ansible, "1", "2", "broken")
	play := func(vars string, playbooks ...string) Result {
		args := []string{
			"env", "LC_ALL=C.UTF-8", "HOME=/root", "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1", filepath.Join(ansible, "bin", "ansible-playbook"), "-c", "local", "-i", "localhost,",
			"-e", "ansible_python_interpreter=" + filepath.Join(ansible, "bin", "python"), "-e", "app=shop config=/root/deploy/shop.toml " + vars,
		}
		for _, name := range playbooks {
			args = append(args, "/root/superctl/packaging/ansible/"+name)
		}
		return s.Run(args...)
	}
	bundle := func(version string) string { return "bundle=/root/deploy/shop-" + version + ".tar.zst" }
	all := func(version string) Result { return play(bundle(version), "setup.yml", "deploy.yml") }
	all("1").Want(0).Says("failed=0")
	all("1").Want(0).Says("changed=0")
	s.Run("sed", "-i", `s/^probation = .*/probation = "1s"/`, "/root/deploy/shop.toml").Want(0)
	all("2").Want(0).Says("changed=4") // the config and its reload, the bundle and its release
	if r := play(bundle("broken"), "deploy.yml").Says("No module named 'nothing_that_is_there'"); r.Code == 0 {
		t.Errorf("a broken release is no failure:\n%s", r.Text())
	}
	s.Run("superctl", "status").Want(0).Says("shop: 2, ok")
	play("release=1", "deploy.yml").Want(0).Says("changed=1")
}
