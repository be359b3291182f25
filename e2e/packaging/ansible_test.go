package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/systemd"
)

// programs returns the directory with the programs that scripts/deps installs for that option.
func programs(t *testing.T, what string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(top(t), "scripts", "deps"), "--no-apt", what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

func TestTheAnsiblePlaybooksDeployAndAreIdempotent(t *testing.T) {
	ansible := programs(t, "--ansible")
	packaging := filepath.Join(top(t), "packaging")
	s := bareMachine(t, []string{"1", "2", "broken"}, systemd.Bind{From: ansible, To: ansible},
		systemd.Bind{From: run.Binary, To: "/root/superctl/bin/superctl"}, systemd.Bind{
			From: packaging, To: "/root/superctl/packaging",
		})
	play := func(vars string, playbooks ...string) systemd.Result {
		args := []string{
			"env", "LC_ALL=C.UTF-8", "HOME=/root", "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1",
			filepath.Join(ansible, "bin", "ansible-playbook"), "-c", "local", "-i", "localhost,",
			"-e", "ansible_python_interpreter=" + filepath.Join(ansible, "bin", "python"), "-e",
			"app=shop config=/root/deploy/shop.toml " + vars,
		}
		for _, name := range playbooks {
			args = append(args, "/root/superctl/packaging/ansible/"+name)
		}
		return s.Run(args...)
	}
	bundle := func(version string) string { return "bundle=/root/deploy/shop-" + version + ".tar.zst" }
	all := func(version string) systemd.Result { return play(bundle(version), "setup.yml", "deploy.yml") }
	all("1").Want(0).Says("failed=0")
	all("1").Want(0).Says("changed=0")
	s.Run("sed", "-i", `s/^probation = .*/probation = "1s"/`, "/root/deploy/shop.toml").Want(0)
	all("2").Want(0).Says("changed=4") // the config and its reload, the bundle and its release
	if r := play(bundle("broken"), "deploy.yml").Says("No module named 'nothing_that_is_there'"); r.Code == 0 {
		t.Errorf("a broken release did not fail:\n%s", r.Text())
	}
	s.Run("superctl", "status").Want(0).Says("shop: 2, ok")
	play("release=1", "deploy.yml").Want(0).Says("changed=1")
}
